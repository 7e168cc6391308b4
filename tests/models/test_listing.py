"""What the list says of the networks: their sizes are those of the references, their accuracies those in print."""

import json
from pathlib import Path
from typing import Any

import pytest
import torchvision.models

from kdharness.core.errors import BadInput
from kdharness.datasets.digits import Digits
from kdharness.models.listing import ListedModel, list_models, model_size
from kdharness.models.registry import MODELS

KNOWN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "models" / "state_dicts.json").read_text())[
    "models"
]
NAMES = {f"ResNet{depth}": f"resnet{depth}_cifar" for depth in (18, 34, 50)}


@pytest.fixture(scope="module")
def listed() -> dict[str, ListedModel]:
    return {model.name: model for model in list_models()}


def test_every_network_once_and_small_ones_first(listed: dict[str, ListedModel]) -> None:
    assert set(listed) == set(MODELS)
    order = [(model.family, model.size.parameters) for model in listed.values()]
    assert order == sorted(order)


@pytest.mark.parametrize("name", list(KNOWN))
def test_sizes_are_the_references(name: str, listed: dict[str, ListedModel]) -> None:
    model, known = listed[MODELS.canonical(NAMES.get(name, name))], KNOWN[name]
    assert (list(model.image_shape), model.classes) == (known["input"], known["num_classes"])
    assert model.size.parameters == known["params"]
    assert model.size.multiply_adds == known["macs_with_matmul"]
    attention = model.family in ("deit", "pit", "pvt", "pvtv2", "t2t_vit")
    assert (model.size.multiply_adds > known["macs_conv_linear"]) == attention


def test_stages(listed: dict[str, ListedModel]) -> None:
    found = {name: listed[name].size.stages for name in ("resnet8", "vgg8", "t2t_vit_7", "pvt_tiny", "deit_tiny")}
    assert found == {"resnet8": 3, "vgg8": 4, "t2t_vit_7": 7, "pvt_tiny": 8, "deit_tiny": 12}


def test_accuracies_in_print(listed: dict[str, ListedModel]) -> None:
    """Fifteen of RepDistiller's README, three teachers of Logit Standardization, five of locality guidance."""
    cifar = {name: model.published["cifar100"] for name, model in listed.items() if "cifar100" in model.published}
    assert len(cifar) == 15 + 3 + 5
    assert {cifar["resnet56"], cifar["resnet20"], cifar["wrn_40_2"], cifar["vgg8"]} == {72.34, 69.06, 75.61, 70.36}
    assert (cifar["deit_tiny"], cifar["t2t_vit_7"], cifar["resnet50_cifar"]) == (65.08, 69.37, 79.34)
    for depth in (18, 34, 50, 101, 152):
        weights = torchvision.models.get_model_weights(f"resnet{depth}")["IMAGENET1K_V1"]
        theirs = weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
        assert listed[f"resnet{depth}_imagenet"].published == {"imagenet": pytest.approx(theirs, abs=0.0051)}


def test_for_a_dataset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = {name: MODELS.get(name) for name in ("resnet20", "deit_tiny", "resnet8")}
    monkeypatch.setattr("kdharness.models.listing.MODELS", _Some(chosen))
    found = list_models(Digits(tmp_path))
    assert [model.name for model in found] == ["resnet8", "resnet20"]  # no patch of 16 pixels in 8
    assert found[1].image_shape == Digits(tmp_path).image_shape and found[1].classes == 10
    assert found[1].size.parameters < 278_324 and found[1].published == {}


class _Some(dict[str, Any]):
    """A small registry."""

    def get(self, name: str) -> Any:  # type: ignore[override]
        return self[name]


def test_images_that_a_network_does_not_take() -> None:
    with pytest.raises(BadInput, match="multiples of 32"):
        model_size("pvt_tiny", 10, (3, 48, 48))
