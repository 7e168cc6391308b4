"""A literature name means another network on another dataset, in pairs, presets and recipes alike."""

import pytest

from kdharness.core.errors import UnknownName
from kdharness.distillers.presets import PRESETS, load_preset
from kdharness.models.naming import model_name
from kdharness.models.registry import MODELS
from kdharness.training.recipes import load_recipe, names


@pytest.mark.parametrize(
    ("name", "dataset", "listed"),
    [
        ("resnet50", "cifar100", "resnet50_cifar"),
        ("ResNet50", "digits", "resnet50_cifar"),
        ("resnet50", "imagenet", "resnet50_imagenet"),
        ("resnet20", "imagenet", "resnet20"),
        ("ShuffleV2", "cifar100", "shufflenetv2"),
        ("WRN_40_2", "cifar100", "wrn_40_2"),
    ],
)
def test_names(name: str, dataset: str, listed: str) -> None:
    assert model_name(name, dataset) == listed


def test_an_unknown_name_is_told_as_it_was_written() -> None:
    with pytest.raises(UnknownName, match="'resnet51'"):
        model_name("resnet51", "cifar100")


def test_presets_find_pairs_by_listed_names() -> None:
    found = dict(load_preset("sun2024logit").constants("kd", "cifar100", "resnet50_cifar -> mobilenetv2"))
    assert found["preset sun2024logit for resnet50_cifar -> mobilenetv2"] == {"temperature": 3.0, "kd_weight": 1.0}
    literature = load_preset("sun2024logit").constants("kd", "cifar100", "ResNet50 -> MobileNetV2")
    assert [values for _, values in literature] == list(found.values())
    shuffle = load_preset("hossain2025luminet").constants("luminet", "cifar100", "wrn_40_2 -> shufflenetv1")
    assert shuffle[-1][1] == {"kd_weight": 1225.0, "ce_weight": 1.0}


def test_every_pair_of_every_preset_names_networks_of_the_zoo() -> None:
    listed = {name.replace("_", "") for name in MODELS}
    for preset in PRESETS:
        for method in load_preset(preset).methods.values():
            for dataset, scope in method.datasets.items():
                for pair in scope.pairs:
                    for side in pair.split("->"):
                        assert side in listed or model_name(side, dataset), (preset, dataset, pair)


def test_every_family_with_a_learning_rate_of_its_own_exists() -> None:
    families = {MODELS.get(name).family for name in MODELS}
    for recipe in names():
        assert set(load_recipe(recipe).lr_by_family) <= families, recipe
    assert load_recipe("cifar100-240").resolve("shufflenetv1", "shufflenetv1", {}).lr == 0.01
