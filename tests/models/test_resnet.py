"""The CIFAR residual networks: sizes as published, tails, statistics, copies."""

import copy

import pytest
import torch
from torch import nn

from kdharness.core.errors import UnknownName
from kdharness.models.registry import MODELS
from kdharness.models.resnet import ResNet
from kdharness.models.statistics import kept_statistics

CIFAR = (3, 32, 32)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [  # 100 classes; the sizes that RepDistiller and mdistiller's definitions have
        ("resnet8", 83_892),
        ("resnet14", 181_108),
        ("resnet20", 278_324),
        ("resnet32", 472_756),
        ("resnet44", 667_188),
        ("resnet56", 861_620),
        ("resnet110", 1_736_564),
        ("resnet8x4", 1_233_540),
        ("resnet32x4", 7_433_860),
    ],
)
def test_size(name: str, parameters: int) -> None:
    model = MODELS.get(name).build(100, CIFAR)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_names_in_any_case_and_a_suggestion() -> None:
    assert MODELS.canonical("ResNet8x4") == "resnet8x4"
    with pytest.raises(UnknownName, match="did you mean 'resnet20'"):
        MODELS.get("resnt20")


def test_a_copy_has_members_of_its_own() -> None:
    model = MODELS.get("resnet8").build(10, (3, 8, 8))
    twin = copy.deepcopy(model)
    assert twin.classifier is not model.classifier and twin.classifier in set(twin.modules())
    assert twin.batch_norms["stage2"] is twin.layer2[-1].bn2


def test_preact_is_the_stage_before_its_relu() -> None:
    outputs = MODELS.get("resnet8").build(10, (3, 8, 8))(torch.randn(2, 3, 8, 8))
    for stage in ("stage1", "stage2", "stage3"):
        assert torch.equal(outputs.stages[f"{stage}.preact"].relu(), outputs.stages[stage])
        assert (outputs.stages[f"{stage}.preact"] < 0).any()
    assert "stem.preact" not in outputs.stages


def test_the_margin_norm_stands_in_front_of_the_last_relu() -> None:
    model = MODELS.get("resnet14").build(10, (3, 8, 8))
    assert isinstance(model, ResNet)
    assert model.batch_norms == {"stage1": model.layer1[-1].bn2, "stage2": model.layer2[-1].bn2} | {
        "stage3": model.layer3[-1].bn2
    }


@pytest.mark.parametrize("stage", ["logits", "stage4", "stem.preact", "classifier"])
def test_no_tail_from_a_layer_it_lacks(stage: str) -> None:
    with pytest.raises(KeyError, match="no layer"):
        MODELS.get("resnet8").build(10, (3, 8, 8)).forward_from(stage, torch.zeros(1, 16, 8, 8))


def test_kept_statistics_leaves_frozen_and_stateless_norms_as_they_are() -> None:
    moving, frozen, stateless = (
        nn.BatchNorm2d(2),
        nn.BatchNorm2d(2).eval(),
        nn.BatchNorm2d(2, track_running_stats=False),
    )
    images = torch.randn(4, 2, 3, 3)
    expected = moving(images)
    counted = int(moving.num_batches_tracked)
    with kept_statistics([moving, frozen, stateless]):
        assert torch.equal(moving(images), expected)
        assert torch.equal(frozen(images), frozen.eval()(images))
    assert int(moving.num_batches_tracked) == counted
    assert moving.track_running_stats and frozen.track_running_stats and not stateless.track_running_stats


def test_kept_statistics_is_undone_by_an_error() -> None:
    norm = nn.BatchNorm2d(2)
    with pytest.raises(ValueError, match="expected 4D"), kept_statistics([norm]):
        norm(torch.zeros(2))
    assert norm.track_running_stats
