"""Each analysis against a value derived by hand or another library's."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdharness.core.analyses import ANALYSES, HEADLINE, Analysis, is_analysis_metric
from kdharness.core.errors import BadInput
from kdharness.evaluation.analyses import OF_OUTPUTS
from kdharness.evaluation.calibration import calibration, false_positives, reliability
from kdharness.evaluation.classes import class_errors, classes, hardest
from kdharness.evaluation.cost import measure
from kdharness.evaluation.entropy import entropy
from kdharness.evaluation.features import features
from kdharness.evaluation.fidelity import class_correlations, difference_map, fidelity
from kdharness.evaluation.gradients import gradients
from kdharness.evaluation.judged import Judged
from kdharness.evaluation.logits import logits
from kdharness.evaluation.perception import perception
from kdharness.evaluation.transfer import linear_probe


def sample(images=300, number=7, seed=0):
    """Logits that are right more often than not, of a student and a teacher, with pooled features."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(number, (images,), generator=generator)
    student, teacher = (torch.randn(images, number, generator=generator) for _ in range(2))
    truth = F.one_hot(labels, number)
    pooled = torch.randn(images, 5, generator=generator)
    return Judged(student * 2 + truth * 2, labels, pooled, teacher * 2 + truth * 4)


def sure(*rows):
    """Logits whose softmax are these probabilities."""
    return torch.tensor(rows).log()


def test_two_sure_images_by_hand():
    # confidences 0.75 (right) and 0.65 (wrong): bins 12 and 10 of 15, gaps 0.25 and 0.65
    judged = Judged(sure([0.75, 0.25], [0.65, 0.35]), torch.tensor([0, 1]), torch.zeros(2, 1))
    found = calibration(judged)
    assert found.metrics["ece"] == pytest.approx((0.25 + 0.65) / 2, abs=1e-6)
    assert found.metrics["mce"] == pytest.approx(0.65, abs=1e-6)
    assert found.metrics["brier"] == pytest.approx((2 * 0.25**2 + 2 * 0.65**2) / 2, abs=1e-6)
    assert found.metrics["nll"] == pytest.approx(-(math.log(0.75) + math.log(0.35)) / 2, abs=1e-6)
    assert found.arrays["count"].nonzero()[0].tolist() == [9, 11]


def test_a_border_belongs_to_the_bin_below_and_certainty_to_the_last():
    count, _, accuracy = reliability(
        torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.2, 0.2]], dtype=torch.float64), torch.tensor([0, 1, 0])
    )
    assert count.tolist() == [0, 0, 1] + [0] * 11 + [2]  # 0.2 = 3/15 is the upper border of the third
    assert accuracy[-1] == 0.5 and math.isnan(accuracy[0])


def test_calibration_equals_the_libraries():
    from sklearn.metrics import brier_score_loss, log_loss
    from torchmetrics.functional.classification import multiclass_calibration_error as error

    judged = sample()
    metrics = calibration(judged).metrics
    probabilities = judged.logits.softmax(1)
    assert metrics["ece"] == pytest.approx(error(probabilities, judged.labels, 7, 15, "l1").item(), abs=1e-6)
    assert metrics["mce"] == pytest.approx(error(probabilities, judged.labels, 7, 15, "max").item(), abs=1e-6)
    exact = judged.logits.double().softmax(1).numpy()
    assert metrics["nll"] == pytest.approx(log_loss(judged.labels, exact), abs=1e-6)
    brier = brier_score_loss(judged.labels, exact, scale_by_half=False)
    assert metrics["brier"] == pytest.approx(brier, abs=1e-6)


def test_false_positives_by_hand_and_at_a_point_that_is_no_corner():
    # class 0: 20 images with scores 20..1 (of 41), the rest 0.5 above every second of them: 19 of 20 pass from 2 on
    own, rest = torch.arange(20, 0, -1.0), torch.arange(0, 20, 2.0) + 0.5
    scores = torch.cat([own, rest]) / 41
    probabilities = torch.stack([scores, 1 - scores], 1)
    labels = torch.tensor([0] * 20 + [1] * 10)
    passing = (rest >= 2).double().mean()
    got = false_positives(probabilities, labels)
    assert got[0] == pytest.approx(passing)
    # class 1: 10 images, all must pass (9 of 10 are 90 %): the largest score of the rest of class 0 that they allow
    assert got[1] == pytest.approx((own <= rest.max()).double().mean())


def test_the_hardest_classes_and_those_below_the_teacher():
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    student = F.one_hot(torch.tensor([0, 0, 1, 0, 2, 0]), 4).float()
    teacher = F.one_hot(torch.tensor([0, 1, 1, 0, 2, 2]), 4).float()
    assert class_errors(student, labels)[:3].tolist() == [0, 50, 50] and class_errors(student, labels)[3].isnan()
    assert hardest(class_errors(teacher, labels)).tolist() == [0, 1, 2]  # 50, 50, 0; class 3 has no image
    found = classes(Judged(student, labels, torch.zeros(6, 1), teacher))
    # strictly below: class 0 (0 < 50), not class 1 (50 = 50) nor class 2 (50 > 0)
    assert found.metrics == {
        "worst_class_error": 50.0,
        "hardest_classes_error": pytest.approx(100 / 3),
        "hardest_classes_below_teacher": 1.0,
    }


def test_entropy_and_mutual_information_by_hand():
    # two certain images of two classes: no entropy, one bit of information; two uniform ones: one bit and none
    certain = entropy(Judged(torch.tensor([[60.0, 0], [0, 60]]), torch.tensor([0, 1]), torch.zeros(2, 1))).metrics
    assert certain["entropy"] == pytest.approx(0, abs=1e-9)
    assert certain["mutual_information"] == pytest.approx(math.log(2), abs=1e-9)
    assert certain["instance_variance"] == 900.0  # 60 and 0: mean 30, both 30 away
    uniform = entropy(Judged(torch.zeros(2, 2), torch.tensor([0, 1]), torch.zeros(2, 1))).metrics
    assert uniform["entropy"] == pytest.approx(math.log(2)) and uniform["mutual_information"] == pytest.approx(0)


def test_entropy_equals_scipy():
    from scipy.stats import entropy as scipy_entropy

    judged = sample()
    probabilities = judged.logits.double().softmax(1).numpy()
    metrics = entropy(judged).metrics
    assert metrics["entropy"] == pytest.approx(scipy_entropy(probabilities, axis=1).mean())
    whole = scipy_entropy(probabilities.mean(0))
    assert metrics["mutual_information"] == pytest.approx(whole - scipy_entropy(probabilities, axis=1).mean())


def test_fidelity_by_hand():
    student, teacher = torch.tensor([[2.0, 0.0], [1.0, 3.0]]), torch.tensor([[5.0, 1.0], [3.0, 1.0]])
    metrics = fidelity(Judged(student, torch.tensor([0, 1]), torch.zeros(2, 1), teacher)).metrics
    assert metrics["agreement"] == 50.0
    # centred: (1, -1) and (2, -2), then (-1, 1) and (1, -1): root mean squares 1 and 2
    assert metrics["logit_distance"] == pytest.approx(1.5)
    assert metrics["logit_difference"] == pytest.approx((3 + 1 + 2 + 2) / 4)
    assert metrics["logit_difference_max"] == pytest.approx(3)
    # standardized by the sample deviation: +-0.7071 everywhere; the second image is turned over
    assert metrics["zscore_difference_max"] == pytest.approx(math.sqrt(2), abs=1e-5)
    assert metrics["zscore_difference"] == pytest.approx(math.sqrt(2) / 2, abs=1e-5)
    assert fidelity(Judged(student, torch.tensor([0, 1]), torch.zeros(2, 1))) is None


def test_fidelity_equals_the_libraries():
    from scipy.special import rel_entr

    judged = sample()
    student, teacher = judged.logits.double(), judged.teacher_logits.double()
    divergence = rel_entr(teacher.softmax(1).numpy(), student.softmax(1).numpy()).sum(1).mean()
    found = fidelity(judged)
    assert found.metrics["teacher_kl"] == pytest.approx(divergence)
    np.testing.assert_allclose(class_correlations(student), np.corrcoef(student.numpy().T), atol=1e-12)
    expected = np.abs(np.corrcoef(student.numpy().T) - np.corrcoef(teacher.numpy().T)).mean()
    assert found.metrics["correlation_difference"] == pytest.approx(expected)


def test_a_class_without_images_is_no_zero_and_a_constant_logit_no_correlation():
    student = torch.tensor([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0]], dtype=torch.float64)
    assert difference_map(student, student, torch.tensor([0, 1]))[2].isnan().all()
    assert class_correlations(student)[1].tolist() == [0, 0, 0]


def test_logit_statistics_equal_numpy():
    judged = sample()
    metrics, values = logits(judged).metrics, judged.logits.double().numpy()
    assert metrics["logit_mean"] == pytest.approx(values.mean())
    assert metrics["logit_std"] == pytest.approx(values.std(axis=1, ddof=1).mean())
    assert metrics["logit_range"] == pytest.approx(np.ptp(values, axis=1).mean(), rel=1e-6)
    scaled = np.ptp(values, axis=1) / values.std(axis=1, ddof=1)
    assert metrics["zscore_range"] == pytest.approx(scaled.mean(), rel=1e-5)


def test_gradient_norm_and_variance_by_hand():
    # logits (w x, 0), w = 0: the gradient of the cross-entropy by w is (1/2 - [y = 0]) x
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)

    def two(images):
        out = network(images)
        return torch.cat([out, torch.zeros_like(out)], 1)

    batches = [torch.tensor([[2.0]]), torch.tensor([[4.0]])]
    found = gradients(network, two, batches, torch.tensor([0, 1]))  # gradients -1 and 2
    assert found.metrics == {"gradient_norm": pytest.approx(1.5), "gradient_variance": pytest.approx(2.25)}
    assert found.arrays["norms"].tolist() == [1.0, 2.0]
    assert network.weight.grad is None


def test_perception_is_a_softmax_of_logits_standardized_over_the_first_images():
    judged = sample()
    found = perception(judged)
    first = judged.logits[:64].double().numpy()
    scaled = (first - first.mean(0)) / np.sqrt(first.var(axis=0) + 1e-5) / 4
    np.testing.assert_allclose(found.arrays["perceived"], np.exp(scaled[0]) / np.exp(scaled[0]).sum())
    np.testing.assert_allclose(found.arrays["softened"], np.exp(first[0] / 4) / np.exp(first[0] / 4).sum())


def test_features_are_evenly_chosen_points():
    found = features(sample(images=40))
    assert found.arrays["points"].shape == (40, 2) and not found.metrics
    assert (features(sample(images=40)).arrays["points"] == found.arrays["points"]).all()


def test_a_linear_probe_finds_a_border_and_judges_on_test():
    line = torch.arange(20.0)[:, None]
    assert linear_probe(line, (line[:, 0] > 9).long(), line, (line[:, 0] > 9).long()) == 100.0
    assert linear_probe(line, (line[:, 0] > 9).long(), line, (line[:, 0] <= 9).long()) == 0.0


def test_a_cost_is_the_median_after_the_warm_up(monkeypatch):
    clock = iter([0.0, 0.001, 1.0, 1.009, 2.0, 2.002])
    monkeypatch.setattr("kdharness.evaluation.cost.perf_counter", lambda: next(clock))
    calls = []
    cost = measure(lambda: calls.append(1), torch.device("cpu"), warm_up=4, repeats=3)
    assert len(calls) == 7 and cost.milliseconds == pytest.approx(2) and cost.memory_mib is None


def test_every_analysis_stores_the_metrics_that_its_name_declares():
    judged = sample(images=60)
    for name, analysis in OF_OUTPUTS.items():
        assert tuple(analysis(judged).metrics) == ANALYSES[name], name
    assert ANALYSES.keys() - OF_OUTPUTS.keys() == {"gradients", "cost", "transfer"}


def test_names():
    assert Analysis.parse("transfer to stl10") == Analysis("transfer", "stl10")
    for wrong in ("calibratoin", "transfer", "transfer to", "calibration to stl10"):
        with pytest.raises(BadInput, match="unknown analysis"):
            Analysis.parse(wrong)
    for metric in ("test_ece", "train_step_ms_cpu", "test_transfer_stl10_top1", "train_extra_parameters", "val_mce"):
        assert is_analysis_metric(metric) and not HEADLINE.search(metric)
    for metric in ("test_top1", "ece", "test_step_ms", "best_ece"):
        assert not is_analysis_metric(metric)
