"""Each feature or relation method against an identity, a value worked out by hand or a count of its adapters."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest
import torch
from stand_in import batch
from torch import Tensor, nn

from kdharness.core.errors import IncompatiblePair
from kdharness.core.records import Recipe
from kdharness.core.types import Batch, BuildContext, Distiller, NetworkView, Outputs
from kdharness.distillers.bridges import bridge
from kdharness.distillers.crd import noise_contrastive, of_gathered_rows, of_the_whole_bank
from kdharness.distillers.locality import bilinear
from kdharness.distillers.maps import resized
from kdharness.distillers.ofd import margins, partial_distance
from kdharness.distillers.presets import load_preset
from kdharness.distillers.registry import DISTILLERS
from kdharness.distillers.reviewkd import hierarchical_context
from kdharness.models.registry import MODELS
from kdharness.training.inputs import Inputs
from kdharness.training.step import TrainingRun

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
def test_stages_correspond_or_are_cut_or_refused(name: str) -> None:
    layers = {f"stage{number}": noise(6, 4, 4, 4, seed=number) for number in range(1, 5)}
    few, many = stages(dict(list(layers.items())[:3])), stages(layers)
    for chosen, expected in (("all", ("stage1", "stage3", "stage4")), ("first", ("stage1", "stage2", "stage3"))):
        method = made(name, layers=chosen)
        terms(method, few, many)
        assert method.needs.stages == ("stage1", "stage2", "stage3") and method.needs.teacher_stages == expected
    with pytest.raises(
        IncompatiblePair, match=r"'stage7' as a map, which the teacher lacks; it has stage1 \(4, 4, 4\)"
    ):
        terms(made(name, layers="stage1=stage7"), few, many)


def test_named_layers_are_compared() -> None:
    crossed = {"stage1": MAPS["stage2"], "stage2": MAPS["stage1"]}
    method = made("at", layers="stage1=stage2 stage2=stage1")
    assert terms(method, stages(MAPS), stages(crossed))["attention"] == pytest.approx(0.0, abs=1e-12)
    assert method.needs.stages == ("stage1", "stage2") and method.needs.teacher_stages == ("stage2", "stage1")


def test_kdsvd_compares_widths_or_refuses_channels() -> None:
    higher = {"stage1": noise(6, 3, 8, 8), "stage2": noise(6, 5, 4, 4)}
    averaged = {layer: torch.nn.functional.avg_pool2d(value, 2) for layer, value in higher.items()}
    expected = terms(made("kdsvd"), stages(averaged), stages(OTHERS))
    assert expected["relation"] > 1e-9
    assert terms(made("kdsvd"), stages(higher), stages(OTHERS)) == pytest.approx(expected, rel=1e-6)
    wide = {"stage1": noise(6, 4, 4, 4), "stage2": noise(6, 5, 2, 2)}
    assert terms(made("kdsvd"), stages(wide), stages(OTHERS))["relation"] > 1e-9
    with pytest.raises(IncompatiblePair, match="needs equal channels: the student's stage1 is \\(4, 4, 4\\)"):
        terms(made("kdsvd", form="repdistiller"), stages(wide), stages(OTHERS))


def network(name: str) -> NetworkView:
    with torch.device("meta"):
        return MODELS.get(name).build(100, (3, 32, 32))


@pytest.mark.parametrize(
    ("name", "teacher", "student", "trained"),
    [
        ("cc", "resnet32x4", "resnet8x4", 65_792),
        ("fitnet", "resnet32x4", "resnet8x4", 16_768),
        ("rkd", "resnet32x4", "resnet8x4", 0),
        ("kd", "resnet32x4", "resnet8x4", 0),
        ("vid", "resnet32x4", "resnet8x4", 258_048),
        ("simkd", "resnet32x4", "resnet8x4", 214_016),
        ("ofd", "resnet32x4", "resnet8x4", 86_912),
        ("ofd", "resnet56", "resnet20", 5_600),
        ("ofd", "wrn_40_2", "wrn_16_2", 21_952),
        ("ofd", "wrn_40_2", "wrn_40_1", 11_200),
        ("ofd", "vgg13", "vgg8", 609_024),
        ("ofd", "resnet32x4", "shufflenetv2", 156_800),
        ("reviewkd", "resnet32x4", "resnet8x4", 1_808_774),
        ("reviewkd", "resnet110", "resnet32", 114_278),
        ("reviewkd", "wrn_40_2", "wrn_16_2", 453_830),
        ("reviewkd", "wrn_40_2", "wrn_40_1", 216_006),
        ("reviewkd", "vgg13", "vgg8", 9_847_560),
        ("reviewkd", "resnet32x4", "shufflenetv1", 4_607_366),
        ("reviewkd", "wrn_40_2", "shufflenetv1", 2_984_646),
        ("reviewkd", "vgg13", "mobilenetv2", 9_640_712),
        ("reviewkd", "resnet50_cifar", "mobilenetv2", 27_933_192),
        ("reviewkd", "resnet32x4", "shufflenetv2", 4_195_718),
        ("reviewkd", "resnet50_cifar", "vgg8", 28_140_040),
        ("crd", "resnet32x4", "resnet8x4", 65_792),
        ("ab", "resnet32x4", "resnet8x4", 0),
        ("fcfd", "resnet32x4", "resnet8x4", 775_040 + 184_704),  # without the bridge that no path uses
        ("ft", "resnet32x4", "resnet8x4", 1_033_728 + 2_065_536),
        ("crd", "resnet32x4", "shufflenetv1", 155_904),
        ("crd", "resnet50_cifar", "mobilenetv2", 426_240),
    ],
)
def test_the_number_of_extra_parameters(name: str, teacher: str, student: str, trained: int) -> None:
    with torch.device("meta"):
        adapters = made(name).build(network(student), network(teacher), CONTEXT)
    assert sum(value.numel() for value in adapters.parameters() if value.requires_grad) == trained


def test_crd_s_two_banks_hold_a_row_per_image() -> None:
    with torch.device("meta"):
        adapters = made("crd").build(network("resnet8x4"), network("resnet32x4"), CONTEXT)
    assert sum(value.numel() for key, value in adapters.named_buffers() if key.startswith("memory")) == 12_800_000


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


def preact(maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every stage before and after its ReLU."""
    found: dict[str, Tensor] = {}
    for layer, value in maps.items():
        found |= {f"{layer}.preact": value, layer: value.relu()}
    return found


def test_ofd_s_margins_by_hand() -> None:
    # beta 0: the mean of half a normal variable, -|gamma| sqrt(2 / pi); beta far above 0: -3 |gamma|
    norm = nn.BatchNorm2d(3)
    norm.weight.data, norm.bias.data = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([0.0, 0.0, 5.0])
    expected = [-2 * math.sqrt(2 / math.pi), -math.sqrt(2 / math.pi), -1.5]
    assert margins(norm).tolist() == pytest.approx(expected, rel=1e-6)


def test_ofd_s_distance_has_three_cases() -> None:
    margin = torch.tensor(-1.0)
    cases = [
        (-3.0, -2.0, 0.0),
        (0.5, -2.0, 2.25),
        (-0.7, -0.5, 0.0),
        (0.5, -0.5, 1.0),
        (-1.0, 2.0, 9.0),
        (3.0, 2.0, 1.0),
    ]
    student, teacher, expected = (torch.tensor(column) for column in zip(*cases, strict=True))
    assert partial_distance(student, teacher, margin).tolist() == pytest.approx(expected.tolist())


def test_ofd_sums_over_pixels_and_halves_towards_the_stem() -> None:
    # both connectors say 0: a target of 2 costs 4 at each of 3 * 16 and 5 * 4 entries, the first stage half
    method = made("ofd")
    student = stages(preact(MAPS))
    teacher = stages(preact({layer: torch.full_like(value, 2.0) for layer, value in OTHERS.items()}))
    norms = {layer: nn.BatchNorm2d(value.shape[1]) for layer, value in OTHERS.items()}
    ours, theirs = views(student, teacher)
    theirs.batch_norms = norms
    adapters = method.build(ours, theirs, CONTEXT).double()
    for connector in adapters.get_submodule("connectors"):
        nn.init.zeros_(connector[1].weight)
    found = method.losses(student, teacher, batch(LABELS))["overhaul"].item()
    assert found == pytest.approx(4 * (48 / 2 + 20), rel=1e-12)
    assert method.needs.teacher_mode == "train"
    theirs.batch_norms = {"stage1": norms["stage1"]}
    with pytest.raises(
        IncompatiblePair, match=r"the teacher's stage2.preact, which it does not show; it does for stage1"
    ):
        method.build(ours, theirs, CONTEXT)


def test_reviewkd_s_levels_by_hand() -> None:
    # 2x2: the whole and, with half its weight, one pixel, whose difference is 0 here
    one = torch.tensor([[[[1.0, -1.0], [1.0, -1.0]]]])
    assert hierarchical_context([one], [torch.zeros(1, 1, 2, 2)]).item() == pytest.approx(1 / 1.5)
    # one pixel: the whole alone; 8x8 ones: 1 at every level
    assert hierarchical_context([torch.ones(1, 1, 1, 1)], [torch.zeros(1, 1, 1, 1)]).item() == 1.0
    assert hierarchical_context([torch.ones(1, 1, 8, 8)], [torch.zeros(1, 1, 8, 8)]).item() == pytest.approx(1.0)


def test_reviewkd_warms_up_from_a_twentieth() -> None:
    method = made("reviewkd", review_weight=5.0)
    assert [method.weights(epoch)["review"] for epoch in (1, 10, 20, 21)] == pytest.approx([0.25, 2.5, 5.0, 5.0])


def test_simkd_s_student_answers_by_the_teacher_s_classifier() -> None:
    student, teacher = stages({"stage1": noise(6, 3, 4, 4)}), stages({"stage1": noise(6, 4, 2, 2)})
    method, (ours, theirs) = made("simkd"), views(student, teacher)
    theirs.classifier = nn.Linear(4, 7).double()
    adapters = method.build(ours, theirs, CONTEXT).double()
    adapters.requires_grad_(False)
    projected = adapters(torch.nn.functional.avg_pool2d(student.stages["stage1"], 2))
    assert torch.allclose(method.predict(student, teacher), theirs.classifier(projected.mean((2, 3))))
    assert method.weights(3) == {"ce": 0.0, "kd": 0.0, "map": 1.0}
    theirs.shapes["pooled"] = (9,)
    with pytest.raises(
        IncompatiblePair, match=r"the teacher averages to its pooled features \(9,\); .* stage1, is \(4, 2, 2\)"
    ):
        method.build(ours, theirs, CONTEXT)


def cat_kd(**constants: object) -> tuple[Distiller, Outputs, Outputs]:
    """CAT-KD on two networks whose classifiers hand their maps on: these are the activation maps of 3 classes."""
    maps = [{"stage1": noise(6, 3, 4, 4, seed=seed)} for seed in (1, 2)]
    student, teacher = stages(maps[0]), stages(maps[1])
    method, sides = made("catkd", **constants), views(student, teacher)
    for side in sides:
        side.classifier = nn.Linear(3, 3).double()
        nn.init.eye_(side.classifier.weight)
    method.build(*sides, CONTEXT)
    return method, student, teacher


def test_catkd_leaves_the_bias_out() -> None:
    method, student, teacher = cat_kd(normalize=False, resolution=1)
    means = [side.stages["stage1"].mean((2, 3)) for side in (student, teacher)]
    assert torch.allclose(method.predict(student, teacher), means[0])
    found = method.losses(student, teacher, batch(torch.tensor([0, 1, 2, 0, 1, 2])))
    assert found["cam"].item() == pytest.approx((means[0] - means[1]).square().mean().item(), rel=1e-12)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    assert found["ce"].item() == pytest.approx(torch.nn.functional.cross_entropy(means[0], labels).item(), rel=1e-12)


def test_catkd_compares_directions_or_chosen_classes() -> None:
    method, student, teacher = cat_kd(normalize=True)
    labels = batch(torch.zeros(6, dtype=torch.int64))
    louder = stages({"stage1": 5 * student.stages["stage1"]})
    first, second = (method.losses(side, teacher, labels)["cam"].item() for side in (student, louder))
    assert second == pytest.approx(first, rel=1e-9)
    logits = torch.tensor([[5.0, 1.0, 3.0, 2.0, 4.0]])
    kept = {kind: made("catkd", classes=kind, class_count=3).kept(logits).tolist() for kind in ("top", "bottom")}
    assert kept == {"top": [[1, 0, 0, 0, 1]], "bottom": [[0, 1, 1, 1, 1]]}


@pytest.mark.parametrize(("name", "last"), [("shufflenetv2", "stage3"), ("mobilenetv2", "stage4")])
def test_a_head_before_pooling_is_what_a_classifier_reads(name: str, last: str) -> None:
    torch.manual_seed(0)
    small, large = (MODELS.get(network).build(10, (3, 32, 32)).eval() for network in (name, "resnet14"))
    images = torch.randn(2, 3, 32, 32)
    method = made("catkd")
    method.build(small, large, CONTEXT)
    assert method.needs.stages == ("head",) and method.needs.teacher_stages == ("stage3",)
    answered = method.predict(small(images), large(images))
    assert torch.allclose(answered, small(images).logits - small.classifier.bias, atol=1e-5)
    for student, teacher, expected in ((small, large, (last, "stage3")), (large, small, ("stage3", "head"))):
        method = made("simkd")
        method.build(student, teacher, CONTEXT)
        assert (*method.needs.stages, *method.needs.teacher_stages) == expected
        assert method.predict(student(images), teacher(images)).shape == (2, 10)


def test_crd_draws_from_other_classes_without_repeats() -> None:
    labels = torch.tensor([2, 0, 1, 0, 2, -1, 1, 1, 0, 2])
    context = BuildContext(3, len(labels), (3, 8, 8), labels)
    for constants in ({"negatives": 6}, {"negatives": 6, "replacement": True}, {"negatives": 40, "positive": "relax"}):
        method = made("crd", **constants)
        adapters = method.build(View({"pooled": (4,)}), View({"pooled": (5,)}), context)
        assert not {"by_class", "first", "size"} & adapters.state_dict().keys()
        index = torch.tensor([0, 1, 2, 4])
        step = Batch(index, labels[index], index, torch.tensor(1), torch.tensor(0), torch.Generator().manual_seed(1))
        columns = method.columns(step)
        assert columns.shape == (4, 1 + constants["negatives"])
        assert (labels[columns[:, 1:]] >= 0).all() and (labels[columns[:, 1:]] != labels[index][:, None]).all()
        assert (labels[columns[:, 0]] == labels[index]).all()
        assert ("positive" in constants) or torch.equal(columns[:, 0], index)
        if constants == {"negatives": 6}:  # there are just six of them
            assert all(len(set(row.tolist())) == 7 for row in columns)


def test_crd_s_first_step_fixes_the_constants_and_moves_the_rows() -> None:
    labels = torch.arange(8) % 4
    method = made("crd", negatives=3, dimension=4, momentum=0.5)
    adapters = method.build(
        View({"pooled": (4,)}), View({"pooled": (4,)}), BuildContext(4, 8, (3, 8, 8), labels)
    ).double()
    before = adapters.memory_v1.clone()
    side, index = pooled(noise(6, 4)), torch.arange(6)
    step = Batch(index, labels[:6], index, torch.tensor(1), torch.tensor(0), torch.Generator().manual_seed(1))
    method.losses(side, side, step)
    assert adapters.Z.tolist() == [-1.0, -1.0] and torch.equal(adapters.memory_v1, before)
    with torch.no_grad():
        method.after_step(side, side, step)
        embedded = torch.nn.functional.normalize(adapters.embed_s(side.pooled), dim=1)
        moved = torch.nn.functional.normalize((before[:6] + embedded) / 2, dim=1)
    assert torch.allclose(adapters.memory_v1, torch.cat((moved, before[6:])))
    fixed = adapters.Z.clone()
    method.losses(side, side, step)
    method.after_step(side, side, step)
    assert (fixed > 0).all() and torch.equal(adapters.Z, fixed)


def test_noise_contrastive_estimation_by_hand() -> None:
    # 2 of 8 rows are noise: p_0 = 1/4 is refused half, p_k = 3/4 by three quarters
    scores = torch.tensor([[[0.25, 0.75, 0.75]]], dtype=torch.float64)
    expected = -(math.log(1 / 2) + 2 * math.log(1 / 4))
    assert noise_contrastive(scores, 8).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "name", ["at", "sp", "nst", "vid", "kdsvd", "simkd", "catkd", "ofd", "reviewkd", "crd", "ab", "ft", "fsp", "fcfd"]
)
def test_the_engine_trains_on_what_build_chose(name: str) -> None:
    torch.manual_seed(0)
    student, teacher = (MODELS.get(network).build(10, (3, 8, 8)) for network in ("resnet8", "resnet14"))
    recipe = Recipe(epochs=1, batch_size=4, lr=0.01, precision="fp32")
    context = BuildContext(10, 100, (3, 8, 8), torch.arange(100) % 10)
    run = TrainingRun(student, teacher, made(name), recipe, context)
    inputs = Inputs(torch.randn(4, 3, 8, 8), LABELS[:4], LABELS[:4])
    for phase in range(len(run.phases) + 1):
        run.begin(phase, 1)
        stepped = run.step(inputs, None, 0, 0)
        assert torch.isfinite(stepped.loss) and stepped.loss > 0
    run.eval_mode()
    assert run.predict(inputs.images).shape == (4, 10)


def phase_loss(method: Distiller, student: Outputs, teacher: Outputs) -> float:
    """The first phase's loss, after `build`."""
    method.build(*views(student, teacher), CONTEXT).double()
    (phase,) = method.phases()
    found = phase.losses(student, teacher, batch(torch.zeros(len(student.logits), dtype=torch.int64)))
    return sum(value.item() for value in found.values())


def test_ab_by_hand() -> None:
    # silent neurons above -1 cost (s + 1)², active ones up to 1 cost (s - 1)²; two stages, the first counts half
    student = torch.tensor([[[[-2.0, 0.5]], [[0.5, 3.0]]]], dtype=torch.float64)
    teacher = torch.tensor([[[[-1.0, 0.0]], [[2.0, 2.0]]]], dtype=torch.float64)
    sides = [stages(preact({"stage1": side, "stage2": side})) for side in (student, teacher)]
    assert phase_loss(made("ab"), *sides) == pytest.approx(1.5 * (1.5**2 + 0.5**2) * 3 / 1000, rel=1e-12)
    assert made("ab", init_epochs=0).weights(1) == {"ce": 1.0}


def test_fsp_by_hand() -> None:
    # one channel each, 1x2 pixels: mean products 1 * 3 and 2 * 1 against nothing
    layers = {"stem": torch.tensor([[[[1.0, 2.0]]]]).double(), "stage1": torch.tensor([[[[3.0, 1.0]]]]).double()}
    nothing = {layer: torch.zeros_like(value) for layer, value in layers.items()}
    assert phase_loss(made("fsp"), stages(layers), stages(nothing)) == pytest.approx(2.5**2, rel=1e-12)
    wide = {**layers, "stage1": noise(1, 2, 1, 2)}
    with pytest.raises(
        IncompatiblePair, match=r"the student's stage1 is \(1, 1, 2\), the teacher's stage1 \(2, 1, 2\)"
    ):
        phase_loss(made("fsp"), stages(layers), stages(wide))


def test_the_phases_train_what_their_code_trains() -> None:
    layers = {"stem": [nn.Conv2d(3, 3, 1)], "stage1": [nn.Conv2d(3, 3, 1)], "classifier": [nn.Linear(3, 5)]}
    shapes = {"stem": (3, 4, 4), "stage1.preact": (3, 4, 4), "stage1": (3, 4, 4), "pooled": (3,)}
    features = [*layers["stem"], *layers["stage1"]]
    for name in ("ab", "fsp", "ft"):
        method = made(name, init_epochs=7, init_lr=0.02)
        adapters = method.build(View(shapes, layers=layers), View(shapes), CONTEXT)
        (phase,) = method.phases()
        assert (phase.epochs, phase.lr) == (7, 0.02)
        expected = {"ab": [*features, adapters["connectors"]] if name == "ab" else [], "fsp": features}
        assert list(phase.trainable) == expected.get(name, [adapters["paraphraser"]] if name == "ft" else [])
        assert phase.batch_norm == ("eval" if name == "ft" else "train")
        silent = made(name, init_epochs=0)
        silent.build(View(shapes, layers=layers), View(shapes), CONTEXT)
        assert silent.phases() == ()


def test_ft_s_paraphraser_stands_still_in_the_main_epochs() -> None:
    method, student, teacher = made("ft"), stages({"stage1": noise(6, 3, 4, 4)}), stages({"stage1": noise(6, 4, 2, 2)})
    adapters = method.build(*views(student, teacher), CONTEXT).double()
    method.losses(student, teacher, batch(torch.zeros(6, dtype=torch.int64)))["factor"].backward()
    assert all(value.grad is None for value in adapters["paraphraser"].parameters())
    assert all(value.grad is not None for value in adapters["translator"].parameters())


def test_fcfd_s_paths_change_over_between_the_stages() -> None:
    sides = [stages({f"stage{number}": noise(6, 3, 4, 4) for number in range(1, 5)}) for _ in range(2)]
    method = made("fcfd", paths=3)
    adapters = method.build(*views(*sides), CONTEXT)
    assert len(method.candidates) == 6 and {key.split(".")[0] for key in adapters.state_dict()} == {"1", "2", "3", "4"}
    drawn = [method.drawn(replace(batch(LABELS), generator=torch.Generator().manual_seed(seed))) for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1] and all(len(set(paths)) == 3 for paths in drawn)


def test_fcfd_bridges_sizes_and_stands_for_a_relu() -> None:
    network = View({"stage1.preact": (4, 4, 4), "stage1": (4, 4, 4), "stage2": (6, 2, 2), "stage2.preact": (6, 2, 2)})
    for shape, layer, kind in (((3, 4, 4), "stage1", 3), ((3, 8, 8), "stage1.preact", 2), ((3, 1, 1), "stage2", 2)):
        made_of = bridge(shape, network, layer)
        assert made_of(torch.randn(2, *shape)).shape[1:] == network.shapes[layer] and len(made_of) == kind
    with pytest.raises(IncompatiblePair, match=r"cannot bridge \(3, 9, 9\) to stage1, \(4, 4, 4\)"):
        bridge((3, 9, 9), network, "stage1")


def test_fcfd_without_mixed_paths_compares_every_stage_and_the_last_one_s_means() -> None:
    method, student, teacher = made("fcfd", paths=0), stages(MAPS), stages(OTHERS)
    adapters = method.build(*views(student, teacher), CONTEXT).double()
    for number in ("1", "2"):
        nn.init.zeros_(adapters[number]["0"]["1"][1].weight)  # the bridge says 0 everywhere
    found = method.losses(student, teacher, batch(torch.zeros(6, dtype=torch.int64)))
    first, last = OTHERS.values()
    expected = first.square().mean() + last.square().mean() + last.relu().mean((2, 3)).square().mean()
    assert found["feature"].item() == pytest.approx(expected.item(), rel=1e-12) and found["mixed"].item() == 0
    assert [method.weights(epoch)["feature"] for epoch in (1, 20)] == pytest.approx([0.25, 5.0])


def test_locality_resizes_both_maps_to_the_larger_size() -> None:
    student = stages({"stage1": torch.ones(6, 3, 2, 8, dtype=torch.float64)})
    teacher = stages({"stage1": torch.full((6, 4, 4, 4), 3.0, dtype=torch.float64)})
    method = made("locality")
    (adapter,) = method.build(*views(student, teacher), CONTEXT).double()
    nn.init.zeros_(adapter.weight)
    nn.init.ones_(adapter.bias)
    found = method.losses(student, teacher, batch(torch.zeros(6, dtype=torch.int64)))
    assert found["guidance"].item() == pytest.approx(4.0, rel=1e-12)


def test_locality_has_the_published_number_of_extra_parameters() -> None:
    levels = load_preset("li2022locality").constants("locality", "cifar100", "pycls_resnet56 -> deit_tiny")
    method = made("locality", **{key: value for _, values in levels for key, value in values.items()})
    with torch.device("meta"):
        adapters = method.build(MODELS.get("deit_tiny").build(100, (3, 224, 224)), network("pycls_resnet56"), CONTEXT)
    assert sum(value.numel() for value in adapters.parameters()) == 21_616
    assert method.needs.stages == ("stage1", "stage7", "stage12") and method.needs.teacher_mode == "train"


def test_rkd_of_equal_images_keeps_the_smallest_distance() -> None:
    points = torch.tensor([[1.0, 2.0], [1.0, 2.0], [4.0, 6.0]], dtype=torch.float64)
    found = made("rkd").distances(points)  # 1e-6, the root of epsilon, and twice 5, over their mean
    assert found[0, 1].item() == pytest.approx(1e-6 / (10 / 3), rel=1e-5)
    assert found.diagonal().tolist() == [0.0, 0.0, 0.0]


def test_catkd_s_binarized_target_is_what_lies_above_the_mean_absolute_value() -> None:
    method, student, teacher = cat_kd(binarize=True, normalize=False, resolution=4)
    target = teacher.stages["stage1"]
    ones = torch.stack([(map_ > map_.abs().mean()).double() for map_ in target.flatten(0, 1)]).view_as(target)
    found = method.losses(student, teacher, batch(torch.zeros(6, dtype=torch.int64)))["cam"]
    assert found.item() == pytest.approx((student.stages["stage1"] - ones).square().mean().item(), rel=1e-12)


def test_maps_are_averaged_or_repeated_to_another_size() -> None:
    features = noise(2, 3, 8, 4)
    for size in ((4, 1), (8, 4), (2, 2), (16, 8), (3, 3), (12, 6)):
        expected = torch.nn.functional.adaptive_avg_pool2d(features, size)
        assert torch.allclose(resized(features, size), expected)
    assert resized(features, (8, 4)) is features


def test_locality_s_resizing_is_bilinear() -> None:
    features = noise(2, 3, 4, 7)
    for size in ((4, 7), (8, 7), (9, 16)):
        expected = torch.nn.functional.interpolate(features, size, mode="bilinear")
        assert torch.allclose(bilinear(features, size), expected)


@pytest.mark.parametrize("products", [of_the_whole_bank, of_gathered_rows])
def test_crd_s_products_by_hand(products: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    columns, embedded, bank = torch.tensor([[0, 3, 3], [1, 2, 6]]), noise(2, 4), noise(8, 4, seed=2)
    expected = [[embedded[row] @ bank[column] for column in columns[row]] for row in range(2)]
    assert torch.allclose(products(embedded, bank, columns), torch.tensor(expected, dtype=torch.float64))
