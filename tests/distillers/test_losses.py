"""The shared terms against numbers computed by hand or printed by the papers."""

import math

import pytest
import torch
from stand_in import logits

from kdharness.core.types import Outputs
from kdharness.distillers.losses import (
    cross_entropy,
    kl_divergence,
    softened_kl,
    standardized,
    warmed_up,
)
from kdharness.distillers.views import of_both_views

# The toy case of Sun et al. 2024, Figure 2: teacher, a student that errs, a student that is right at another scale.
TEACHER = torch.tensor([[1.0, 4.0, 3.0, 2.0]], dtype=torch.float64)
WRONG = torch.tensor([[1.0, 2.8, 3.0, 2.0]], dtype=torch.float64)
RIGHT = torch.tensor([[0.1, 0.4, 0.3, 0.2]], dtype=torch.float64)


def test_the_figure_of_logit_standardization() -> None:
    assert softened_kl(WRONG, TEACHER, 1.0).item() == pytest.approx(0.1749, abs=5e-5)
    assert softened_kl(RIGHT, TEACHER, 1.0).item() == pytest.approx(0.3457, abs=5e-5)
    z_wrong, z_right, z_teacher = standardized(WRONG), standardized(RIGHT), standardized(TEACHER)
    assert z_teacher[0].tolist() == pytest.approx([-1.162, 1.162, 0.387, -0.387], abs=5e-4)
    assert z_wrong[0].tolist() == pytest.approx([-1.320, 0.660, 0.880, -0.220], abs=5e-4)
    assert softened_kl(z_wrong, z_teacher, 1.0).item() == pytest.approx(0.0995, abs=5e-5)
    assert softened_kl(z_right, z_teacher, 1.0).item() == pytest.approx(0.0, abs=1e-10)


def test_the_paper_s_algorithm_divides_by_the_population_deviation() -> None:
    value = softened_kl(standardized(WRONG, "population"), standardized(TEACHER, "population"), 1.0)
    assert value.item() == pytest.approx(0.134699515595084, abs=1e-6)


def test_the_figure_s_columns_without_one_of_the_two_steps() -> None:
    for student, plain, full in ((WRONG, 0.1749, 0.0995), (RIGHT, 0.3457, 0.0)):
        for kind, expected in (("none", plain), ("mean", plain), ("std", full), ("zscore", full)):
            value = softened_kl(standardized(student, kind=kind), standardized(TEACHER, kind=kind), 1.0)
            assert value.item() == pytest.approx(expected, abs=5e-5)
    assert standardized(WRONG, kind="none") is WRONG
    assert standardized(WRONG, kind="mean")[0].tolist() == pytest.approx([-1.2, 0.6, 0.8, -0.2], rel=1e-12)


def test_a_method_of_two_views_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="views=2"):
        of_both_views(Outputs(WRONG, WRONG))


def test_divergence_of_two_classes_by_hand() -> None:
    # teacher (0.8, 0.2), student (0.5, 0.5): 0.8 ln 1.6 + 0.2 ln 0.4; at T = 2 from logits twice as large, times 4
    teacher, student = torch.tensor([[math.log(4.0), 0.0]], dtype=torch.float64), torch.zeros(1, 2).double()
    value = 0.8 * math.log(1.6) + 0.2 * math.log(0.4)
    assert kl_divergence(student, teacher).item() == pytest.approx(value, rel=1e-12)
    assert softened_kl(2 * student, 2 * teacher, 2.0).item() == pytest.approx(4 * value, rel=1e-12)


def test_cross_entropy_of_equal_logits_is_the_log_of_the_classes() -> None:
    assert cross_entropy(torch.zeros(3, 7), torch.tensor([0, 3, 6])).item() == pytest.approx(math.log(7), rel=1e-6)


def test_a_constant_row_becomes_zero_and_its_deviation_has_no_gradient() -> None:
    rows = torch.full((2, 4), 2.5, dtype=torch.float64, requires_grad=True)
    result = standardized(rows)
    assert torch.equal(result, torch.zeros_like(result))
    # (I - 1/K) / 1e-7 through the numerator is all that is left: orthogonal to constants, finite
    gradient = torch.autograd.grad(softened_kl(result, torch.zeros(2, 4).double(), 1.0), rows)[0]
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_the_gradient_of_standardization_flows_through_mean_and_deviation() -> None:
    rows = logits(2, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(standardized, rows)
    # neither a shift nor a scale of the row moves the result: the gradient is orthogonal to both
    gradient = torch.autograd.grad(softened_kl(standardized(rows), logits(2, 5, seed=2), 2.0), rows)[0]
    assert gradient.sum(1).tolist() == pytest.approx([0.0, 0.0], abs=1e-12)
    assert (gradient * rows).sum(1).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = logits(4, 10, seed=1).bfloat16(), logits(4, 10, seed=2).bfloat16()
    value = softened_kl(student, teacher, 3.0)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(softened_kl(student.double(), teacher.double(), 3.0).item(), rel=1e-5)


@pytest.mark.parametrize(("epoch", "weight"), [(1, 0.4), (10, 4.0), (20, 8.0), (240, 8.0)])
def test_warm_up_counts_from_one(epoch: int, weight: float) -> None:
    assert warmed_up(8.0, epoch, 20) == pytest.approx(weight, rel=1e-12)


def test_no_warm_up() -> None:
    assert warmed_up(8.0, 1, 0) == 8.0
