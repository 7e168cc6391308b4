"""Each method against an identity or a value worked out by hand (the golden vectors check the rest)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from pydantic import ValidationError
from stand_in import batch, logits, outputs

from kdharness.core.errors import IncompatiblePair, UnknownName
from kdharness.core.keys import canonical
from kdharness.core.types import BuildContext, Distiller, Outputs
from kdharness.distillers.ctkd import CTKD
from kdharness.distillers.dist import DIST, correlation
from kdharness.distillers.dkd import DKD, others
from kdharness.distillers.dml import DML
from kdharness.distillers.fitnet import FitNet
from kdharness.distillers.kd import KD
from kdharness.distillers.label_smoothing import LabelSmoothing
from kdharness.distillers.losses import softened_kl
from kdharness.distillers.luminet import LumiNet, perception
from kdharness.distillers.mlkd import MLKD, up_to_the_median
from kdharness.distillers.nkd import NKD
from kdharness.distillers.none import NoDistillation
from kdharness.distillers.registry import DISTILLERS
from kdharness.distillers.skd import SKD, spread_as
from kdharness.distillers.sld import SLD, swapped
from kdharness.distillers.ttm import TTM
from kdharness.distillers.wttm import WTTM

LABELS = torch.tensor([0, 3, 1, 4, 4, 2])


def test_every_method_on_logits_is_registered() -> None:
    names = "ctkd dist dkd dml kd label_smoothing luminet mlkd nkd none skd sld ttm wttm"
    assert set(names.split()) <= set(DISTILLERS)
    with pytest.raises(UnknownName, match="did you mean 'luminet'"):
        DISTILLERS.get("luminnet")


@pytest.mark.parametrize("value", ["4", True, None, [4.0]])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        KD.Config(temperature=value)
    with pytest.raises(ValidationError):
        DKD.Config(warmup=value)
    assert KD.Config(temperature=4).temperature == 4.0


def test_no_distillation_needs_no_teacher() -> None:
    method = NoDistillation(NoDistillation.Config())
    assert method.needs.teacher == "none" and method.weights(1) == {"ce": 1.0}


def test_kd_s_cross_entropy_sees_raw_logits() -> None:
    student, teacher = outputs(logits(6, 5, 1)), outputs(logits(6, 5, 2))
    plain = KD(KD.Config()).losses(student, teacher, batch(LABELS))
    standard = KD(KD.Config(standardize="zscore")).losses(student, teacher, batch(LABELS))
    assert torch.equal(plain["ce"], standard["ce"]) and not torch.allclose(plain["kd"], standard["kd"])


METHODS_ON_ROWS = [
    pytest.param(lambda **values: KD(KD.Config(**values)), "kd", id="kd"),
    pytest.param(lambda **values: DKD(DKD.Config(**values)), "tckd nckd", id="dkd"),
    pytest.param(lambda **values: built(CTKD(CTKD.Config(**values))), "kd", id="ctkd"),
    pytest.param(lambda **values: built(CTKD(CTKD.Config(base="dkd", **values))), "tckd nckd", id="ctkd-dkd"),
    pytest.param(lambda **values: MLKD(MLKD.Config(**values)), "instance batch class", id="mlkd"),
]


def built(method: CTKD) -> CTKD:
    method.build(Shapes({}), Shapes({}), CONTEXT).double()
    return method


@pytest.mark.parametrize(("method", "names"), METHODS_ON_ROWS)
@pytest.mark.parametrize(("column", "other"), [("mean", "none"), ("std", "zscore")])
def test_the_columns_of_the_standardization_table_are_two_by_two_one_method(
    method: Callable[..., Distiller], names: str, column: str, other: str
) -> None:
    """z - mean is plain, z / std is the z-score (Sun et al. 2024, Table 4): softmax does not see a shift."""
    student, teacher = two_views(1), two_views(3)
    first = method(standardize=column).losses(student, teacher, batch(LABELS))
    second = method(standardize=other).losses(student, teacher, batch(LABELS))
    plain = method(standardize="none").losses(student, teacher, batch(LABELS))
    for name in names.split():
        assert first[name].item() == pytest.approx(second[name].item(), rel=1e-11)
    assert (first[names.split()[0]].item() == pytest.approx(plain[names.split()[0]].item())) == (other == "none")


@pytest.mark.parametrize(("method", "names"), METHODS_ON_ROWS)
@pytest.mark.parametrize("std", ["sample", "population"])
def test_standardized_divergences_see_neither_shift_nor_scale(
    method: Callable[..., Distiller], names: str, std: str
) -> None:
    student, teacher = two_views(1), two_views(3)
    term = names.split()[0]
    first = method(standardize="zscore", std=std).losses(student, teacher, batch(LABELS))[term].item()
    assert first > 1e-3
    other = teacher if term == "instance" else moved(teacher, 0.1, 9)  # mlkd's masks read the raw teacher
    again = method(standardize="zscore", std=std).losses(moved(student, 5, -3), other, batch(LABELS))[term]
    assert again.item() == pytest.approx(first, rel=1e-5)


def two_views(seed: int) -> Outputs:
    second = outputs(logits(6, 5, seed + 1))
    return replace(outputs(logits(6, 5, seed)), second=second)


def moved(side: Outputs, scale: float, shift: float) -> Outputs:
    """Both views' logits times `scale` plus `shift`."""
    second = moved(side.second, scale, shift) if side.second is not None else None
    return replace(side, logits=scale * side.logits + shift, second=second)


def test_kd_averaged_over_the_classes_too_is_smaller_by_their_number() -> None:
    student, teacher = outputs(logits(6, 5, 1)), outputs(logits(6, 5, 2))
    over_images, over_all = (
        KD(KD.Config(reduction=reduction)).losses(student, teacher, batch(LABELS))["kd"].item()
        for reduction in ("batch", "mean")
    )
    assert over_all == pytest.approx(over_images / 5, rel=1e-12)


def test_a_constant_added_later_leaves_old_keys_alone() -> None:
    assert "reduction" not in canonical(KD.Config())
    assert canonical(KD.Config(reduction="mean"))["reduction"] == "mean"


def test_dkd_is_kd_where_the_rest_is_weighted_by_the_teacher_s_doubt() -> None:
    """KL = TCKD + (1 - p_y of the teacher) NCKD, image by image (section 3 of the paper)."""
    method, plain = DKD(DKD.Config(temperature=3.0)), KD(KD.Config(temperature=3.0))
    for row in range(len(LABELS)):
        student, teacher = logits(6, 5, 1)[row : row + 1], logits(6, 5, 2)[row : row + 1]
        label = LABELS[row : row + 1]
        terms = method.losses(outputs(student), outputs(teacher), batch(label))
        doubt = 1 - (teacher / 3.0).softmax(1)[0, label[0]]
        whole = plain.losses(outputs(student), outputs(teacher), batch(label))["kd"]
        assert (terms["tckd"] + doubt * terms["nckd"]).item() == pytest.approx(whole.item(), rel=1e-12)


def test_dkd_of_two_classes_has_no_other_classes_to_compare() -> None:
    labels = torch.tensor([0, 1, 1])
    terms = DKD(DKD.Config()).losses(outputs(logits(3, 2, 1)), outputs(logits(3, 2, 2)), batch(labels))
    assert terms["nckd"].item() == 0.0 and terms["tckd"].item() > 0


def test_dkd_s_target_part_is_exact_where_probabilities_underflow() -> None:
    # float32, log-odds of the target class -2000 (student) and 0 (teacher), T = 1: KL = 0.5 * 2000 - ln 2
    student, teacher = torch.tensor([[0.0, 2000.0]]), torch.tensor([[0.0, 0.0]])
    terms = DKD(DKD.Config(temperature=1)).losses(outputs(student), outputs(teacher), batch(torch.tensor([0])))
    assert terms["tckd"].item() == pytest.approx(1000 - math.log(2), rel=1e-6)


def test_the_other_classes_keep_their_order() -> None:
    table = torch.arange(10).reshape(2, 5)
    assert others(table, torch.tensor([0, 3])).tolist() == [[1, 2, 3, 4], [5, 6, 7, 9]]


def test_dkd_warms_up_its_own_terms_only() -> None:
    weights = DKD(DKD.Config()).weights(5)
    assert weights == pytest.approx({"ce": 1.0, "tckd": 0.25, "nckd": 2.0})


def test_luminet_of_two_images_by_hand() -> None:
    # per class over two images: +-d / sqrt(d² + 1e-5); a class that is the same for both is 0
    table = torch.tensor([[1.0, 2.0, 5.0], [3.0, 2.0, 1.0]], dtype=torch.float64)
    small, large = 1 / math.sqrt(1 + 1e-5), 2 / math.sqrt(4 + 1e-5)
    assert perception(table).tolist() == [pytest.approx([-small, 0, large]), pytest.approx([small, 0, -large])]


def test_luminet_has_no_squared_temperature_and_is_zero_for_one_image() -> None:
    student, teacher = logits(6, 5, 1), logits(6, 5, 2)
    config = LumiNet.Config(temperature=4.0)
    value = LumiNet(config).losses(outputs(student), outputs(teacher), batch(LABELS))["kd"]
    plain = KD(KD.Config(temperature=4.0)).losses(
        outputs(perception(student)), outputs(perception(teacher)), batch(LABELS)
    )["kd"]
    assert value.item() == pytest.approx(plain.item() / 16, rel=1e-12)
    alone = LumiNet(config).losses(outputs(student[:1]), outputs(teacher[:1]), batch(LABELS[:1]))["kd"]
    assert alone.item() == pytest.approx(0.0, abs=1e-15)
    assert LumiNet(config).weights(10)["kd"] == pytest.approx(961 / 2)


def test_ttm_with_exponent_1_is_kd_at_temperature_1() -> None:
    student, teacher = outputs(logits(6, 5, 1)), outputs(logits(6, 5, 2))
    plain = KD(KD.Config(temperature=1.0)).losses(student, teacher, batch(LABELS))["kd"]
    ours = TTM(TTM.Config(exponent=1.0)).losses(student, teacher, batch(LABELS))["ttm"]
    assert ours.item() == pytest.approx(plain.item(), rel=1e-12)


def test_wttm_weighs_an_image_by_the_sum_of_its_teacher_s_powers() -> None:
    # exponent 1/2: teacher (0.64, 0.36) gives powers (0.8, 0.6), U = 1.4, q = (4/7, 3/7); student (0.5, 0.5)
    teacher, student = torch.tensor([[0.64, 0.36]], dtype=torch.float64).log(), torch.zeros(1, 2).double()
    divergence = 4 / 7 * math.log(8 / 7) + 3 / 7 * math.log(6 / 7)
    label = batch(torch.tensor([0]))
    plain = TTM(TTM.Config(exponent=0.5)).losses(outputs(student), outputs(teacher), label)["ttm"]
    weighted = WTTM(WTTM.Config(exponent=0.5)).losses(outputs(student), outputs(teacher), label)["wttm"]
    assert plain.item() == pytest.approx(divergence, rel=1e-12)
    assert weighted.item() == pytest.approx(1.4 * divergence, rel=1e-12)


def test_dist_of_one_image_has_no_relation_among_images() -> None:
    method = DIST(DIST.Config(temperature=2.0))
    terms = method.losses(outputs(logits(1, 5, 1)), outputs(logits(1, 5, 1)), batch(LABELS[:1]))
    assert terms["intra"].item() == 4.0 and terms["inter"].item() == pytest.approx(0.0, abs=1e-5)


def test_correlation_by_hand() -> None:
    # centred (-1, 0, 1) against (-1, 1, 0) / 3: 1 / 2; against a constant row 0
    first = torch.tensor([[1.0, 2.0, 3.0]] * 3, dtype=torch.float64)
    second = torch.tensor([[0.0, 2 / 3, 1 / 3], [3.0, 2.0, 1.0], [5.0, 5.0, 5.0]], dtype=torch.float64)
    assert correlation(first, second).tolist() == pytest.approx([0.5, -1.0, 0.0], rel=1e-7)


def test_nkd_of_a_student_that_knows_nothing() -> None:
    # log p_s is -ln K for the target, -ln(K - 1) among the others: trust ln K and T² ln(K - 1)
    teacher = logits(6, 5, 2)
    terms = NKD(NKD.Config(temperature=3.0)).losses(
        outputs(torch.zeros(6, 5).double()), outputs(teacher), batch(LABELS)
    )
    trust = teacher.softmax(1)[torch.arange(6), LABELS].mean().item()
    assert terms["target"].item() == pytest.approx(trust * math.log(5), rel=1e-12)
    assert terms["others"].item() == pytest.approx(9 * math.log(4), rel=1e-12)


def test_label_smoothing_by_hand() -> None:
    # p = (1/2, 1/4, 1/4), label 0, a tenth spread over all three: 0.9 ln 2 + 0.1 (ln 2 + 2 ln 4) / 3
    method = LabelSmoothing(LabelSmoothing.Config())
    side = outputs(torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log())
    terms, weights = method.losses(side, side, batch(torch.tensor([0]))), method.weights(1)
    total = sum(weights[term] * value.item() for term, value in terms.items())
    assert total == pytest.approx(0.9 * math.log(2) + 0.1 * 5 / 3 * math.log(2), rel=1e-12)
    assert method.needs.teacher == "none"


def test_skd_sees_neither_shift_nor_scale_of_the_student() -> None:
    student, teacher = logits(6, 5, 1), logits(6, 5, 2)
    method = SKD(SKD.Config())
    first = method.losses(outputs(student), outputs(teacher), batch(LABELS))
    other = method.losses(outputs(5 * student - 3), outputs(teacher), batch(LABELS))
    for term, value in first.items():
        assert other[term].item() == pytest.approx(value.item(), rel=1e-12)
    assert torch.allclose(spread_as(student, teacher).std(1), teacher.std(1))


def test_skd_of_a_constant_row_is_a_uniform_student() -> None:
    rows = torch.full((6, 5), 2.5, dtype=torch.float64, requires_grad=True)
    terms = SKD(SKD.Config()).losses(outputs(rows), outputs(logits(6, 5, 2)), batch(LABELS))
    assert terms["ce"].item() == pytest.approx(math.log(5), rel=1e-12)
    assert torch.isfinite(torch.autograd.grad(terms["kd"], rows)[0]).all()


@pytest.mark.parametrize("base", ["kd", "dkd"])
def test_ctkd_s_gradient_is_reversed_and_scaled_by_the_curriculum(base: str) -> None:
    student, teacher = outputs(logits(6, 5, 1)), outputs(logits(6, 5, 2))
    gradients = []
    for first, last in ((1.0, 1.0), (0.0, -1.0)):
        method = CTKD(CTKD.Config(base=base, first_multiplier=first, last_multiplier=last, curriculum_epochs=2))
        learned = method.build(Shapes({}), Shapes({}), CONTEXT).double().global_T
        terms = method.losses(student, teacher, batch(LABELS))  # epoch 1 of 2: half of the cosine
        gradients.append(torch.autograd.grad(sum(terms.values()), learned)[0].item())
        assert method.temperature(torch.tensor(1)).item() == pytest.approx(1 + 20 / (1 + math.exp(-1)), rel=1e-12)
    true, ours = gradients
    assert true != 0 and ours == pytest.approx(-0.5 * true, rel=1e-9)


@pytest.mark.parametrize("epsilon", [0.0, 1e-12])
def test_each_of_two_mutual_learners_follows_labels_and_the_other(epsilon: float) -> None:
    # the gradient of CE + KL(peer || own) by hand: (2 own - labels - peer) / B, with the roles exchanged too
    small, large = logits(6, 5, 1).requires_grad_(), logits(6, 5, 2).requires_grad_()
    method = DML(DML.Config(epsilon=epsilon))
    assert method.needs.peer and method.needs.teacher == "architecture"
    for own, peer in ((small, large), (large, small)):
        terms = method.losses(outputs(own), outputs(peer.detach()), batch(LABELS))
        gradient = torch.autograd.grad(sum(terms.values()), own)[0]
        labels = torch.nn.functional.one_hot(LABELS, 5)
        by_hand = (2 * own.softmax(1) - labels - peer.softmax(1)) / 6
        assert torch.allclose(gradient, by_hand, atol=1e-7)


def test_mlkd_of_two_images_and_classes_by_hand() -> None:
    """Student indifferent, teacher certain beyond doubt: every part is a number of ln 2 and of counts."""
    certain = torch.tensor([[1e4, 0.0], [0.0, 1e4]], dtype=torch.float64)
    teacher = replace(outputs(certain), second=outputs(certain))
    student = replace(outputs(torch.zeros(2, 2).double()), second=outputs(torch.zeros(2, 2).double()))
    terms = MLKD(MLKD.Config()).losses(student, teacher, batch(torch.tensor([0, 1])))
    # both confidences and both classes' masses are their median: fractions 1; KL_T = T² ln 2 for every T
    assert terms["ce"].item() == pytest.approx(2 * math.log(2))
    squares = (4, 3, 5), (2, 6)
    seen, doubled = (sum(t * t for t in each) for each in squares)
    assert terms["instance"].item() == pytest.approx((seen + doubled + seen + doubled) * math.log(2))
    # both grams: the identity less a matrix of halves, norm² 1, over 2, five times
    assert terms["batch"].item() == pytest.approx(2.5) and terms["class"].item() == pytest.approx(2.5)


def test_mlkd_s_second_view_is_seen_at_three_temperatures_only() -> None:
    """With a first view without loss the strong terms are all that is left: T = 4, 3, 5, not 2 and 6."""
    same, student, teacher = logits(6, 5, 1), logits(6, 5, 2), logits(6, 5, 3)
    terms = MLKD(MLKD.Config()).losses(
        replace(outputs(same), second=outputs(student)), replace(outputs(same), second=outputs(teacher)), batch(LABELS)
    )
    expected = sum(softened_kl(student, teacher, temperature).item() for temperature in (4.0, 3.0, 5.0))
    assert terms["instance"].item() == pytest.approx(expected, rel=1e-12)
    assert terms["batch"].item() == terms["class"].item() == 0.0


def test_up_to_the_median() -> None:
    assert up_to_the_median(torch.tensor([1.0, 2.0, 3.0, 4.0])).item() == 0.5
    assert up_to_the_median(torch.tensor([3.0, 1.0, 2.0])).item() == pytest.approx(2 / 3)
    assert up_to_the_median(torch.ones(5)).item() == 1.0


def test_swapping_gives_the_label_the_highest_logit() -> None:
    table = torch.tensor([[1.0, 5.0, 2.0], [7.0, 0.0, 3.0]], requires_grad=True)
    result = swapped(table, torch.tensor([2, 0]))
    assert result.tolist() == [[1.0, 2.0, 5.0], [7.0, 0.0, 3.0]]
    weights = torch.tensor([[1.0, 10.0, 100.0], [1.0, 10.0, 100.0]])
    assert torch.autograd.grad((weights * result).sum(), table)[0].tolist() == [[1.0, 100.0, 10.0], [1.0, 10.0, 100.0]]


SIX = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


def test_sld_of_a_right_teacher_is_kd_at_six_temperatures_and_the_pseudo_teacher_comes_late() -> None:
    student, teacher = two_views(1), two_views(3)
    assert teacher.second is not None
    right = [5 * torch.nn.functional.one_hot(LABELS, 5) + 0.1 * each.logits for each in (teacher, teacher.second)]
    method = SLD(SLD.Config())
    sides = student, replace(outputs(right[0]), second=outputs(right[1]))
    terms = method.losses(*sides, batch(LABELS))
    assert student.second is not None
    each = [softened_kl(student.logits, right[0], T) + softened_kl(student.second.logits, right[1], T) for T in SIX]
    assert terms["kd"].item() == pytest.approx(torch.stack(each).sum().item(), rel=1e-12)
    assert terms["pseudo"].item() > 0.1
    assert method.losses(sides[1], sides[1], batch(LABELS))["pseudo"].item() == pytest.approx(0.0, abs=1e-12)
    assert [method.weights(epoch)["pseudo"] for epoch in (1, 150, 151)] == [0.0, 0.0, 0.9]


def test_sld_s_pseudo_teacher_learns_too() -> None:
    """One wrong row of two classes, T = 1 alone by hand: KL of (1-p, p) from (p, 1-p), p = sigmoid(d)."""
    gap = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    row = torch.stack((gap, torch.zeros_like(gap)))[None]
    side = replace(outputs(row), second=outputs(torch.tensor([[0.0, 1.0]]).double()))
    value = SLD(SLD.Config()).losses(side, side.detach(), batch(torch.tensor([1])))["pseudo"]
    # both rows' KL_T is T² (d/T) tanh(d/2T): its derivative has the part of the moving target
    by_hand = sum(T * 1.5 * math.tanh(1.5 / 2 / T) for T in range(1, 7))
    slope = sum(T * math.tanh(0.75 / T) + 0.75 / math.cosh(0.75 / T) ** 2 for T in range(1, 7))
    assert value.item() == pytest.approx(by_hand, rel=1e-12)
    assert torch.autograd.grad(value, gap)[0].item() == pytest.approx(slope, rel=1e-12)


@dataclass
class Shapes:
    """The one layer of a network that FitNet's build asks for."""

    shapes: dict[str, tuple[int, ...]]


CONTEXT = BuildContext(10, 100, (3, 32, 32))


@pytest.mark.parametrize(
    ("student", "teacher"),
    [((5, 8, 8), (7, 8, 8)), ((5, 16, 16), (7, 8, 8)), ((5, 4, 4), (7, 8, 8)), ((5, 7, 9), (7, 4, 4))],
    ids=["equal", "halved", "doubled", "valid"],
)
def test_fitnet_s_regressor_fits_the_teacher(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    method = FitNet(FitNet.Config())
    regressor = method.build(Shapes({"stage2": student}), Shapes({"stage2": teacher}), CONTEXT)
    assert regressor(torch.randn(2, *student)).shape == (2, *teacher)
    assert set(regressor.state_dict()) == {"conv.weight", "conv.bias"} | {
        f"bn.{key}" for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }


def test_fitnet_has_the_published_number_of_extra_parameters() -> None:
    # ResNet32x4 to ResNet8x4, LumiNet's Table 3a: 16.8K
    shapes = Shapes({"stage2": (128, 16, 16)})
    adapters = FitNet(FitNet.Config()).build(shapes, shapes, CONTEXT)
    assert sum(parameter.numel() for parameter in adapters.parameters()) == 16_768


def test_fitnet_refuses_pairs_by_layer_and_shapes() -> None:
    method = FitNet(FitNet.Config())
    with pytest.raises(IncompatiblePair, match=r"stage2 \(5, 2, 2\) to the teacher's \(7, 8, 8\)"):
        method.build(Shapes({"stage2": (5, 2, 2)}), Shapes({"stage2": (7, 8, 8)}), CONTEXT)
    with pytest.raises(IncompatiblePair, match="'stage2', which the teacher lacks; it has stage1"):
        method.build(Shapes({"stage2": (5, 2, 2)}), Shapes({"stage1": (7, 8, 8)}), CONTEXT)


def test_fitnet_s_hint_is_a_mean_over_everything() -> None:
    method = FitNet(FitNet.Config(layer="stage1"))
    shapes = Shapes({"stage1": (2, 4, 4)})
    method.build(shapes, shapes, CONTEXT)
    method.regressor.bn.weight.data.zero_()  # the regressor says 0 everywhere
    features = torch.full((6, 2, 4, 4), 3.0)
    side = Outputs(torch.zeros(6, 5), torch.zeros(6, 2), {"stage1": features})
    assert method.losses(side, side, batch(LABELS))["hint"].item() == pytest.approx(9.0)
