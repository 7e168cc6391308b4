"""The CNN families: what the golden vectors and the laws do not say of them."""

from math import sqrt

import pytest
import torch
import torchvision.models
from torch import nn

from kdharness.core.types import Model
from kdharness.models.registry import MODELS
from kdharness.testing.model import check_shapes

CIFAR = (3, 32, 32)


def built(name: str, image_shape: tuple[int, int, int] = CIFAR, classes: int = 10) -> Model:
    return MODELS.get(name).build(classes, image_shape)


@pytest.mark.parametrize(
    "name",
    [
        *("resnet8", "wrn_16_1", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2", "mobilenetv1"),
        *("resnet18_cifar", "resnet18_imagenet", "pycls_resnet56", "mobilenetv2_tinyimagenet"),
    ],
)
def test_images_of_64_pixels(name: str) -> None:
    """One of each family; the references of four of them raise or, worse, make four rows of one."""
    check_shapes(MODELS.get(name), (3, 64, 64))


def test_vgg_has_a_fourth_pool_only_for_images_of_64_pixels() -> None:
    at = {size: built("vgg8", (3, size, size)).shapes for size in (32, 48, 64)}
    assert [at[size]["stage3"][1:] for size in at] == [(4, 4), (6, 6), (8, 8)]
    assert [at[size]["stage4"][1:] for size in at] == [(4, 4), (6, 6), (4, 4)]


def test_wrn_updates_every_batch_norm_once_per_step() -> None:
    model = built("wrn_16_1", (3, 8, 8)).train()
    model(torch.randn(2, 3, 8, 8))
    counters = {int(value) for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")}
    assert counters == {1}


def test_wrn_stages_are_raw_and_preact_is_their_norm() -> None:
    model = built("wrn_16_1", (3, 8, 8)).eval()
    stages = model(torch.randn(2, 3, 8, 8)).stages
    for stage, norm in model.batch_norms.items():
        assert (stages[stage] < 0).any()
        torch.testing.assert_close(norm(stages[stage]), stages[f"{stage}.preact"])


# teacher -> student, as RepDistiller and mdistiller print them, and ImageNet's
@pytest.mark.parametrize(
    "pair",
    [
        ("vgg13", "mobilenetv2"),
        ("resnet50_cifar", "mobilenetv2"),
        ("resnet50_cifar", "vgg8"),
        ("resnet32x4", "shufflenetv1"),
        ("resnet32x4", "shufflenetv2"),
        ("wrn_40_2", "shufflenetv1"),
        ("wrn_40_2", "resnet8x4"),
        ("resnet50_imagenet", "mobilenetv1"),
        ("resnet18_cifar", "mobilenetv2_tinyimagenet"),
    ],
    ids="-".join,
)
def test_cross_family_pairs_have_the_same_stages(pair: tuple[str, str]) -> None:
    with torch.device("meta"):
        teacher, student = (built(name, (3, 64, 64)).shapes for name in pair)
    stages = [[name for name in shapes if name.startswith("st") and "." not in name] for shapes in (teacher, student)]
    assert stages[0] == stages[1]


def test_torchvisions_network_gives_the_same_numbers() -> None:
    theirs = torchvision.models.resnet50(num_classes=10).double().eval()
    ours = built("resnet50_imagenet").double().eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images).logits, theirs(images), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("depth", [101, 152])
def test_deeper_resnets_have_torchvisions_keys(depth: int) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(f"resnet{depth}").state_dict()
        ours = built(f"resnet{depth}_imagenet", (3, 224, 224), 1000).state_dict()
    assert [(key, value.shape) for key, value in ours.items()] == [(key, value.shape) for key, value in theirs.items()]


def test_the_classifier_that_is_kept_as_a_convolution_loads_in_either_shape() -> None:
    model = built("mobilenetv2_tinyimagenet", (3, 8, 8), 5)
    state = model.state_dict()
    assert state["conv2.weight"].shape == (5, 1280, 1, 1) and model.classifier.weight.shape == (5, 1280)
    for weight in (torch.ones(5, 1280, 1, 1), torch.full((5, 1280), 2.0)):
        model.load_state_dict(state | {"conv2.weight": weight})
        assert torch.equal(model.classifier.weight, weight.flatten(1))


@pytest.mark.parametrize("name", ["vgg8", "mobilenetv2", "wrn_16_2", "resnet18_cifar", "pycls_resnet56"])
def test_convolutions_start_from_their_fan_out(name: str) -> None:
    model = built(name)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            height, width = module.kernel_size
            expected = sqrt(2 / (height * width * module.out_channels))
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.1)
            assert module.bias is None or not module.bias.any()


@pytest.mark.parametrize(("name", "std"), [("vgg8", 0.01), ("mobilenetv2", 0.01), ("wrn_16_2", None)])
def test_classifiers_start_without_bias(name: str, std: float | None) -> None:
    classifier = built(name).classifier
    assert not classifier.bias.any()
    assert std is None or float(classifier.weight.detach().std()) == pytest.approx(std, rel=0.1)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_bare_name_says_too_little(name: str) -> None:
    assert name not in MODELS
