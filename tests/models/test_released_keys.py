"""Foreign keys: exact, or behind a known prefix, or refused with a table that shows what differs and why."""

import pytest
import torch
from torch import Tensor

from kdharness.core.errors import BadInput
from kdharness.datasets.registry import DATASETS
from kdharness.models.registry import MODELS
from kdharness.models.released.fitting import fit


@pytest.fixture
def cifar10(tmp_path):
    return DATASETS.get("cifar10")(tmp_path)


def built(name: str, classes: int = 10) -> dict[str, Tensor]:
    return MODELS.get(name).build(classes, (3, 32, 32)).state_dict()


def behind(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in weights.items()}


def without(part: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if part not in key}


@pytest.mark.parametrize("prefix", ["", "module.", "module.student.", "student."])
def test_a_known_prefix_comes_off(prefix, cifar10):
    weights = built("resnet8")
    found = fit(behind(prefix, weights), "resnet8", cifar10, where="a.pth")
    assert list(found.weights) == list(weights)
    assert all(torch.equal(found.weights[key], weights[key]) for key in weights)
    assert (found.prefix, found.counters, found.left_out) == (prefix, 0, 0)


def test_the_student_is_taken_out_of_a_distillers_file(cifar10):
    teacher = behind("module.teacher.", built("resnet14"))
    found = fit({**behind("module.student.", built("resnet8")), **teacher}, "resnet8", cifar10, where="a.pth")
    assert (found.prefix, found.left_out) == ("module.student.", len(teacher))
    with pytest.raises(BadInput):  # what stands beside it is no teacher
        fit({**behind("module.student.", built("resnet8")), "module.x": torch.ones(1)}, "resnet8", cifar10, where="a")


def test_counters_that_old_pytorch_did_not_have_are_0(cifar10):
    weights = without("num_batches_tracked", built("resnet8"))
    found = fit(weights, "resnet8", cifar10, where="a.pth")
    assert found.counters == 9
    assert {found.weights[key].item() for key in found.weights if key.endswith("num_batches_tracked")} == {0}
    MODELS.get("resnet8").build(10, (3, 32, 32)).load_state_dict(found.weights, strict=True)


def test_half_precision_becomes_float32_and_what_does_not_fit_in_is_refused(cifar10):
    weights = {key: value.half() if value.is_floating_point() else value for key, value in built("resnet8").items()}
    assert fit(weights, "resnet8", cifar10, where="a.pth").weights["fc.weight"].dtype == torch.float32
    weights["fc.bias"] = torch.full((10,), 1e300, dtype=torch.float64)
    with pytest.raises(BadInput, match="too large for float32"):
        fit(weights, "resnet8", cifar10, where="a.pth")


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (lambda: built("resnet8", 100), ["fc.weight  10×64     100×64", "2 of another", "100 classes, cifar10 has 10"]),
        (lambda: built("resnet8x4"), ["fit resnet8x4 exactly: --model resnet8x4"]),
        (lambda: built("vgg8", 100), ["missing", "unexpected", "fit vgg8 but for the head", "has 100 classes"]),
        (lambda: behind("module.", built("resnet14")), ["fit resnet14 exactly: --model resnet14"]),
        (lambda: {**built("resnet8"), "a.weight": torch.ones(2, 3)}, ["a.weight  -         2×3", "1 unexpected"]),
        (
            lambda: {**built("resnet8"), "fc.bias": torch.ones(10).long()},
            ["fc.bias  10 float32  10 int64", "1 of another number format", "quantised"],
        ),
        (lambda: {"a": torch.ones(1)}, ["... and 38 more", "Not one key is the network's"]),
        (lambda: without("fc", built("resnet8")), ["fc.bias", "head is missing"]),
        (lambda: without("var", built("resnet8")), ["9 missing", "no network"]),
    ],
)
def test_what_differs_is_shown_with_its_likely_cause(weights, said, cifar10):
    with pytest.raises(BadInput) as refused:
        fit(weights(), "resnet8", cifar10, where="a.pth")
    for text in said:
        assert text in str(refused.value)
    assert refused.value.where == "a.pth" and len(str(refused.value).splitlines()) <= 16
