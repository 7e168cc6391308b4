"""Each method against an identity or a value worked out by hand (the golden vectors check the rest)."""

import math
from dataclasses import dataclass

import pytest
import torch
from pydantic import ValidationError
from stand_in import batch, logits, outputs

from kdharness.core.errors import IncompatiblePair, UnknownName
from kdharness.core.types import BuildContext, Outputs
from kdharness.distillers.ctkd import CTKD
from kdharness.distillers.dist import DIST, correlation
from kdharness.distillers.dkd import DKD, others
from kdharness.distillers.dml import DML
from kdharness.distillers.fitnet import FitNet
from kdharness.distillers.kd import KD
from kdharness.distillers.label_smoothing import LabelSmoothing
from kdharness.distillers.luminet import LumiNet, perception
from kdharness.distillers.nkd import NKD
from kdharness.distillers.none import NoDistillation
from kdharness.distillers.registry import DISTILLERS
from kdharness.distillers.skd import SKD, spread_as
from kdharness.distillers.ttm import TTM
from kdharness.distillers.wttm import WTTM

LABELS = torch.tensor([0, 3, 1, 4, 4, 2])


def test_every_method_of_this_version_is_registered() -> None:
    assert " ".join(DISTILLERS) == "ctkd dist dkd dml fitnet kd label_smoothing luminet nkd none skd ttm wttm"
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


def test_standardized_kd_sees_neither_shift_nor_scale() -> None:
    student, teacher = logits(6, 5, 1), logits(6, 5, 2)
    method = KD(KD.Config(standardize="zscore", temperature=2))
    first = method.losses(outputs(student), outputs(teacher), batch(LABELS))["kd"]
    other = method.losses(outputs(5 * student - 3), outputs(0.1 * teacher + 9), batch(LABELS))["kd"]
    assert other.item() == pytest.approx(first.item(), rel=1e-5)


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
