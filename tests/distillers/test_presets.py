"""The presets: every value fits its method's Config, and the papers' numbers are found by pair."""

import pytest

from kdharness.core.errors import BadInput, UnknownName
from kdharness.core.records import Recipe
from kdharness.distillers.presets import PRESETS, load_preset
from kdharness.distillers.registry import DISTILLERS


def resolved(preset: str, distiller: str, dataset: str, pair: str) -> dict[str, object]:
    values: dict[str, object] = {}
    for _, level in load_preset(preset).constants(distiller, dataset, pair):
        values |= level
    return values


@pytest.mark.parametrize("name", PRESETS)
def test_every_value_fits_its_method_and_recipe(name: str) -> None:
    preset = load_preset(name)
    assert preset.paper and preset.source and preset.methods
    for method, scope in preset.methods.items():
        config = DISTILLERS.get(method).Config
        scopes = [scope, *scope.datasets.values(), *(p for d in scope.datasets.values() for p in d.pairs.values())]
        for one in scopes:
            config(**one.constants)
            assert all(type(value) is type(getattr(config(), key)) for key, value in one.constants.items())
            Recipe(**{"epochs": 1, "batch_size": 1, "lr": 1.0, **one.recipe})


def test_the_defaults_of_a_method_are_its_preset_s_general_values() -> None:
    for name in DISTILLERS:
        method = DISTILLERS.get(name)
        if method.preset is not None:
            general = load_preset(method.preset).methods[name].constants
            assert method.Config(**general) == method.Config(), name


@pytest.mark.parametrize(
    ("preset", "distiller", "dataset", "pair", "expected"),
    [
        ("hinton2015", "kd", "cifar100", "resnet56 -> resnet20", {"temperature": 4.0, "kd_weight": 0.9}),
        ("hinton2015", "kd", "imagenet", "resnet34 -> resnet18", {"temperature": 1.0, "ce_weight": 0.5}),
        ("zhao2022dkd", "dkd", "cifar100", "resnet56->resnet20", {"nckd_weight": 2.0, "tckd_weight": 1.0}),
        ("zhao2022dkd", "dkd", "cifar100", "resnet32x4 -> resnet8x4", {"nckd_weight": 8.0, "warmup": 20}),
        ("zhao2022dkd", "dkd", "cifar100", "vgg13 -> vgg8", {"nckd_weight": 6.0}),
        ("zhao2022dkd", "dkd", "imagenet", "ResNet34 -> ResNet18", {"nckd_weight": 0.5, "warmup": 1}),
        ("sun2024logit", "kd", "cifar100", "resnet110 -> resnet20", {"temperature": 4.0, "kd_weight": 12.0}),
        ("sun2024logit", "kd", "cifar100", "ResNet50 -> MobileNetV2", {"temperature": 3.0, "kd_weight": 1.0}),
        ("sun2024logit", "kd", "imagenet", "resnet34 -> resnet18", {"ce_weight": 1.0, "kd_weight": 9.0}),
        ("sun2024logit", "dkd", "cifar100", "resnet56 -> resnet20", {"tckd_weight": 18.0, "nckd_weight": 36.0}),
        ("sun2024logit", "dkd", "cifar100", "WRN-40-2 -> WRN-16-2", {"tckd_weight": 12.0, "nckd_weight": 24.0}),
        ("hossain2025luminet", "luminet", "cifar100", "resnet32x4 -> resnet8x4", {"kd_weight": 33.0**2}),
        ("hossain2025luminet", "luminet", "cifar100", "vgg13 -> vgg8", {"kd_weight": 70.0**2, "ce_weight": 1.0}),
        ("hossain2025luminet", "luminet", "cifar100", "wrn_40_2 -> wrn_40_1", {"kd_weight": 75.0**2}),
        ("hossain2025luminet", "luminet", "imagenet", "resnet34 -> resnet18", {"temperature": 0.7, "kd_weight": 4.0}),
        ("zheng2024ttm", "ttm", "cifar100", "resnet32x4 -> ShuffleV2", {"exponent": 0.4, "ttm_weight": 40.0}),
        ("zheng2024ttm", "wttm", "cifar100", "resnet56 -> resnet20", {"exponent": 0.3, "wttm_weight": 1.5}),
        ("zheng2024ttm", "wttm", "imagenet", "resnet34 -> resnet18", {"exponent": 0.8, "wttm_weight": 1.6}),
        ("huang2022dist", "dist", "imagenet", "resnet34 -> resnet18", {"temperature": 1.0, "inter_weight": 2.0}),
        ("yang2023nkd", "nkd", "imagenet", "resnet34 -> resnet18", {"temperature": 1.0, "others_weight": 1.5}),
        ("li2023ctkd", "ctkd", "imagenet", "resnet34 -> resnet18", {"curriculum_epochs": 5, "ce_weight": 1.0}),
        ("li2023ctkd_dkd", "ctkd", "cifar100", "resnet56 -> resnet20", {"base": "dkd", "nckd_weight": 2.0}),
        ("sun2024logit", "ctkd", "cifar100", "vgg13 -> vgg8", {"standardize": "zscore", "kd_weight": 9.0}),
        ("sun2024logit", "mlkd", "cifar100", "vgg13 -> vgg8", {"instance_weight": 6.0, "temperature": 2.0}),
        ("sun2024logit", "mlkd", "cifar100", "resnet56 -> resnet20", {"class_weight": 9.0, "standardize": "zscore"}),
        ("jin2023mlkd", "mlkd", "cifar100", "resnet56 -> resnet20", {"batch_weight": 0.9, "temperature": 4.0}),
        ("jin2023mlkd", "mlkd", "imagenet", "resnet34 -> resnet18", {"batch_weight": 0.5, "temperature": 1.0}),
        ("limantoro2025sld", "sld", "imagenet", "resnet50 -> mobilenetv1", {"ce_weight": 1.0, "kd_weight": 0.5}),
        ("mirzadeh2020takd", "kd", "cifar100", "resnet20 -> resnet8", {"kd_weight": 0.15, "reduction": "mean"}),
        ("romero2015fitnets", "fitnet", "cifar100", "vgg13 -> vgg8", {"hint_weight": 100.0, "layer": "stage2"}),
    ],
)
def test_the_papers_values(preset: str, distiller: str, dataset: str, pair: str, expected: dict[str, object]) -> None:
    assert expected.items() <= resolved(preset, distiller, dataset, pair).items()


@pytest.mark.parametrize(
    ("preset", "distiller", "dataset", "pair", "unpublished"),
    [
        ("chen2021reviewkd", "reviewkd", "cifar100", "vgg13 -> vgg8", True),
        ("chen2021reviewkd", "reviewkd", "cifar100", "resnet32x4 -> resnet8x4", False),
        ("guo2023catkd", "catkd", "cifar100", "ResNet50 -> vgg8", True),
        ("guo2023catkd", "catkd", "cifar100", "ResNet50 -> MobileNetV2", False),
        ("liu2023fcfd", "fcfd", "cifar100", "resnet110 -> resnet32", True),
        ("hossain2025luminet", "luminet", "cifar100", "WRN-40-2 -> WRN-16-2", True),
        ("zhao2022dkd", "dkd", "cifar100", "wrn_40_2 -> resnet8x4", True),
        ("zhao2022dkd", "dkd", "cifar100", "ResNet50 -> MobileNetV2", False),
        ("sun2024logit", "kd", "cifar100", "wrn_40_2 -> ShuffleV1", True),
        ("sun2024logit", "kd", "cifar100", "wrn_40_2 -> MobileNetV2", False),
        ("sun2024logit", "mlkd", "cifar100", "wrn_40_2 -> MobileNetV2", True),
        ("sun2024logit", "ctkd", "cifar100", "vgg13 -> vgg8", True),
        ("sun2024logit", "dkd", "imagenet", "resnet34 -> resnet18", True),
    ],
)
def test_results_without_constants_are_marked(
    preset: str, distiller: str, dataset: str, pair: str, unpublished: bool
) -> None:
    assert load_preset(preset).is_unpublished(distiller, dataset, pair) is unpublished


def test_sources_are_weakest_first_and_named() -> None:
    pair = "resnet34 -> resnet18"
    sources = [source for source, _ in load_preset("sun2024logit").constants("kd", "imagenet", pair)]
    assert sources == ["preset sun2024logit", "preset sun2024logit on imagenet", f"preset sun2024logit for {pair}"]


def test_a_preset_may_set_fields_of_the_recipe() -> None:
    preset = load_preset("hossain2025luminet")
    (found,) = preset.recipe("luminet", "imagenet", "resnet50 -> mobilenetv1")
    assert found == ("preset hossain2025luminet for resnet50 -> mobilenetv1", {"batch_size": 256, "lr": 0.1})
    assert preset.recipe("luminet", "cifar100", "vgg13 -> vgg8") == []


@pytest.mark.parametrize(
    ("preset", "distiller", "pair", "epochs", "lr"),
    [
        ("jin2023mlkd", "mlkd", "resnet56 -> resnet20", 240, 0.025),
        ("jin2023mlkd", "mlkd", "ResNet50 -> MobileNetV2", 480, 0.01),
        ("jin2023mlkd", "mlkd", "resnet32x4 -> ShuffleV1", 960, 0.01),
        ("sun2024logit", "mlkd", "vgg13 -> vgg8", 480, 0.01),
        ("sun2024logit", "mlkd", "wrn_40_2 -> MobileNetV2", 480, 0.005),
        ("sun2024logit", "mlkd", "resnet32x4 -> ShuffleV2", 960, 0.01),
        ("limantoro2025sld", "sld", "vgg13 -> MobileNetV2", 240, 0.008),
        ("limantoro2025sld", "sld", "resnet32x4 -> ShuffleV1", 240, 0.009),
    ],
)
def test_the_papers_recipes(preset: str, distiller: str, pair: str, epochs: int, lr: float) -> None:
    values: dict[str, object] = {}
    for _, level in load_preset(preset).recipe(distiller, "cifar100", pair):
        values |= level
    assert (values["epochs"], values["lr"], values["milestones"]) == (epochs, lr, [150, 180, 210])


def test_an_unknown_name_or_method() -> None:
    with pytest.raises(UnknownName, match="did you mean 'sun2024logit'"):
        load_preset("sun2024logits")
    with pytest.raises(BadInput, match="no constants for 'luminet', only for ctkd, dkd, kd, mlkd"):
        load_preset("sun2024logit").constants("luminet", "cifar100", "vgg13 -> vgg8")
