"""Each feature or relation method against an identity, a value worked out by hand or a count of its adapters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import torch
from stand_in import batch
from torch import Tensor, nn

from kdharness.core.errors import IncompatiblePair
from kdharness.core.types import BuildContext, Distiller, NetworkView, Outputs
from kdharness.distillers.presets import load_preset
from kdharness.distillers.registry import DISTILLERS
from kdharness.models.registry import MODELS

LABELS = torch.tensor([0, 3, 1, 4, 4, 2])
CONTEXT = BuildContext(100, 50_000, (3, 32, 32), torch.arange(50_000) % 100)


@dataclass
class View:
    """The shapes of a network and what else a `build` asks for."""

    shapes: dict[str, tuple[int, ...]]
    batch_norms: dict[str, nn.BatchNorm2d] = field(default_factory=dict)
    layers: dict[str, list[nn.Module]] = field(default_factory=dict)
    classifier: nn.Linear = field(default_factory=lambda: nn.Linear(4, 5))


def made(name: str, **constants: object) -> Distiller:
    method = DISTILLERS.get(name)
    return method(method.Config(**constants))


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pooled(features: Tensor) -> Outputs:
    return Outputs(torch.zeros(len(features), 5, dtype=features.dtype), features)


def stages(maps: Mapping[str, Tensor]) -> Outputs:
    first = next(iter(maps.values()))
    return Outputs(torch.zeros(len(first), 5, dtype=first.dtype), first.mean((2, 3)), maps)


def views(*sides: Outputs) -> list[View]:
    return [
        View({name: tuple(value.shape[1:]) for name, value in side.stages.items()} | {"pooled": side.pooled.shape[1:]})
        for side in sides
    ]


def terms(method: Distiller, student: Outputs, teacher: Outputs) -> dict[str, float]:
    """The method's terms but the cross-entropy, after `build`."""
    method.build(*views(student, teacher), CONTEXT).double()
    found = method.losses(student, teacher, batch(torch.zeros(len(student.logits), dtype=torch.int64)))
    return {name: value.item() for name, value in found.items() if name != "ce"}


MAPS = {"stage1": noise(6, 3, 4, 4), "stage2": noise(6, 5, 2, 2, seed=2)}
OTHERS = {"stage1": noise(6, 3, 4, 4, seed=3), "stage2": noise(6, 5, 2, 2, seed=4)}


@pytest.mark.parametrize("name", ["rkd", "pkt"])
def test_relations_of_the_teacher_s_own_features_are_kept(name: str) -> None:
    own, other = pooled(noise(6, 4)), pooled(noise(6, 7, seed=2))
    assert all(value == pytest.approx(0.0, abs=1e-12) for value in terms(made(name), own, own).values())
    assert all(value > 1e-6 for value in terms(made(name), own, other).values())


@pytest.mark.parametrize("name", ["at", "sp", "nst", "kdsvd"])
def test_maps_of_the_teacher_s_own_features_are_kept(name: str) -> None:
    own, other = stages(MAPS), stages(OTHERS)
    assert all(value == pytest.approx(0.0, abs=1e-12) for value in terms(made(name), own, own).values())
    assert all(value > 1e-9 for value in terms(made(name), own, other).values())


@pytest.mark.parametrize("name", ["rkd", "pkt"])
def test_relations_do_not_see_how_long_features_are(name: str) -> None:
    student, teacher = noise(6, 4), noise(6, 7, seed=2)
    first = terms(made(name), pooled(student), pooled(teacher))
    assert terms(made(name), pooled(5 * student), pooled(0.2 * teacher)) == pytest.approx(first, rel=1e-5)


@pytest.mark.parametrize("name", ["at", "sp", "nst", "kdsvd"])
def test_maps_do_not_see_how_strong_features_are(name: str) -> None:
    first = terms(made(name), stages(MAPS), stages(OTHERS))
    scaled = stages({layer: 5 * value for layer, value in MAPS.items()})
    assert terms(made(name), scaled, stages(OTHERS)) == pytest.approx(first, rel=1e-4)


def test_rkd_by_hand() -> None:
    # rows 0, (3, 0), (0, 4): distances 3, 4, 5 over their mean 4; the teacher's are all 1
    student = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    teacher = torch.tensor([[1.0, 0.0], [-0.5, math.sqrt(0.75)], [-0.5, -math.sqrt(0.75)]], dtype=torch.float64)
    found = terms(made("rkd"), pooled(student), pooled(teacher))
    assert found["distance"] == pytest.approx(2 * (0.25**2 / 2 + 0.25**2 / 2) / 9, rel=1e-6)
    # cosines at the three corners 0, 0.6, 0.8 against 0.5, each twice; 1 on the diagonal of both
    assert found["angle"] == pytest.approx(2 * (0.5**2 + 0.1**2 + 0.3**2) / 2 / 27, rel=1e-6)


@pytest.mark.parametrize("name", ["rkd", "sp", "pkt", "cc"])
def test_one_image_has_no_relations(name: str) -> None:
    side, other = stages({"stage1": noise(1, 3, 2, 2)}), stages({"stage1": noise(1, 3, 2, 2, seed=2)})
    assert all(value == pytest.approx(0.0, abs=1e-12) for value in terms(made(name), side, other).values())


def test_at_by_hand() -> None:
    # attention (1, 0) against (3, 4) / 5 of one stage: mean of 0.4² and 0.8²
    student = torch.tensor([[[[2.0, 0.0]]]], dtype=torch.float64)
    teacher = torch.tensor([[[[3.0**0.5, 2.0]]]], dtype=torch.float64)
    found = terms(made("at"), stages({"stage1": student}), stages({"stage1": teacher}))
    assert found["attention"] == pytest.approx((0.4**2 + 0.8**2) / 2, rel=1e-12)


def test_at_of_a_dead_student_is_finite_and_still() -> None:
    dead = torch.zeros(6, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    method = made("at")
    student, teacher = stages({"stage1": dead}), stages({"stage1": OTHERS["stage1"]})
    method.build(*views(student, teacher), CONTEXT)
    value = method.losses(student, teacher, batch(LABELS))["attention"]
    assert torch.autograd.grad(value, dead)[0].abs().max() == 0 and torch.isfinite(value)


def test_cc_by_hand() -> None:
    method = made("cc", dimension=2)
    adapters = method.build(View({"pooled": (2,)}), View({"pooled": (2,)}), CONTEXT).double()
    for embedding in adapters.values():
        nn.init.eye_(embedding.linear.weight)
        nn.init.zeros_(embedding.linear.bias)
    student = torch.tensor([[1.0, -2.0], [3.0, 4.0], [0.5, 1.0]], dtype=torch.float64)
    found = method.losses(pooled(student), pooled(torch.zeros_like(student)), batch(LABELS[:3]))
    assert found["correlation"].item() == pytest.approx((1 * 3 + 2 * 4 + 3 * 0.5 + 4 * 1) / 2, rel=1e-12)


def test_vid_of_a_perfect_guess_is_the_logarithm_of_its_variance() -> None:
    method = made("vid", variance=2.0)
    student, teacher = stages(MAPS), stages({layer: torch.zeros_like(value) for layer, value in OTHERS.items()})
    adapters = method.build(*views(student, teacher), CONTEXT).double()
    for guess in adapters["regressors"]:
        nn.init.zeros_(guess[4].weight)
    assert method.losses(student, teacher, batch(LABELS))["information"].item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("name", ["at", "nst", "vid", "kdsvd"])
def test_stages_are_counted(name: str) -> None:
    more = stages({**OTHERS, "stage3": noise(6, 5, 2, 2)})
    with pytest.raises(IncompatiblePair, match=r"the student has stage1 \(3, 4, 4\), stage2 \(5, 2, 2\) and the teac"):
        terms(made(name), stages(MAPS), more)
    cut = terms(made(name, layers="first"), stages(MAPS), stages(OTHERS))
    assert terms(made(name, layers="first"), stages(MAPS), more).keys() == cut.keys()
    with pytest.raises(IncompatiblePair, match="'stage7' as a map, which the teacher lacks"):
        terms(made(name, layers="stage1=stage7"), stages(MAPS), more)


def test_named_layers_are_compared() -> None:
    crossed = {"stage1": MAPS["stage2"], "stage2": MAPS["stage1"]}
    method = made("at", layers="stage1=stage2 stage2=stage1")
    assert terms(method, stages(MAPS), stages(crossed))["attention"] == pytest.approx(0.0, abs=1e-12)
    assert method.needs.stages == ("stage1", "stage2") and method.needs.teacher_stages == ("stage2", "stage1")


@pytest.mark.parametrize(
    ("form", "maps", "message"),
    [
        ("mdistiller", {"stage1": noise(6, 3, 2, 2), "stage2": noise(6, 5, 2, 2)}, "needs equal widths"),
        ("repdistiller", {"stage1": noise(6, 4, 4, 4), "stage2": noise(6, 5, 2, 2)}, "needs equal channels"),
    ],
)
def test_kdsvd_refuses_what_its_form_cannot_compare(form: str, maps: dict[str, Tensor], message: str) -> None:
    with pytest.raises(IncompatiblePair, match=message):
        terms(made("kdsvd", form=form), stages(maps), stages(OTHERS))


def network(name: str) -> NetworkView:
    with torch.device("meta"):
        return MODELS.get(name).build(100, (3, 32, 32))


@pytest.mark.parametrize(
    ("name", "teacher", "student", "trained"),
    [
        ("cc", "resnet32x4", "resnet8x4", 65_792),
        ("vid", "resnet32x4", "resnet8x4", 258_048),
    ],
)
def test_the_number_of_extra_parameters(name: str, teacher: str, student: str, trained: int) -> None:
    adapters = made(name).build(network(student), network(teacher), CONTEXT)
    assert sum(value.numel() for value in adapters.parameters() if value.requires_grad) == trained


@pytest.mark.parametrize(
    ("preset", "name", "dataset", "pair", "expected"),
    [
        ("zagoruyko2017at", "at", "imagenet", "resnet50 -> MobileNetV1", "stage2=stage1 stage3=stage2 stage4=stage3"),
        ("zagoruyko2017at", "at", "cifar100", "vgg13 -> vgg8", "all"),
    ],
)
def test_the_papers_layers(preset: str, name: str, dataset: str, pair: str, expected: str) -> None:
    levels = load_preset(preset).constants(name, dataset, pair)
    assert [values["layers"] for _, values in levels if "layers" in values][-1] == expected
