"""How well a student says what its teacher says: agreement, divergence, and where their logits differ."""

import torch
from torch import Tensor

from kdharness.distillers.losses import kl_divergence, standardized
from kdharness.evaluation.judged import Found, Judged


def fidelity(judged: Judged) -> Found | None:
    """Nothing for a student without a trained teacher.

    - `agreement`: percent of images that both put into the same class (Stanton et al., NeurIPS 2021).
    - `teacher_kl`: mean of KL(softmax(t) || softmax(s)) at temperature 1, in nats.
    - `logit_distance`: mean over images of the root mean square over classes of the difference of centred logits.
    - `logit_difference`, `_max`: mean and largest entry of the class-by-class map of |s - t| on raw logits, and
      `zscore_difference`, `_max` on standardized ones (Logit Standardization, Figure 3; `difference_map`).
    - `correlation_difference`: mean absolute entry of the difference of the class correlations (LumiNet, Figures 5
      and 6; `class_correlations`).
    """
    student, teacher = judged.logits.double(), judged.teacher_logits
    if teacher is None:
        return None
    teacher = teacher.double()
    centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    raw = difference_map(student, teacher, judged.labels)
    zscore = difference_map(standardized(student), standardized(teacher), judged.labels)
    ours, theirs = class_correlations(student), class_correlations(teacher)
    metrics = {
        "agreement": 100 * (student.argmax(1) == teacher.argmax(1)).double().mean().item(),
        "teacher_kl": kl_divergence(student, teacher).item(),
        "logit_distance": centred.square().mean(1).sqrt().mean().item(),
        "logit_difference": raw.nanmean().item(),
        "logit_difference_max": raw.nan_to_num(0.0).max().item(),
        "zscore_difference": zscore.nanmean().item(),
        "zscore_difference_max": zscore.nan_to_num(0.0).max().item(),
        "correlation_difference": (ours - theirs).abs().mean().item(),
    }
    maps = {"raw": raw, "zscore": zscore, "student_correlation": ours, "teacher_correlation": theirs}
    return Found(metrics, {name: values.float().numpy() for name, values in maps.items()})


def difference_map(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Mean of |s - t| over the images of each class: (N, K), (N, K), (N,) -> (K, K), true class by logit.

    A class without images is NaN.
    """
    number = student.shape[1]
    sums = torch.zeros(number, number, dtype=student.dtype)
    sums.index_add_(0, labels, (student - teacher).abs())
    return sums / labels.bincount(minlength=number)[:, None]


def class_correlations(logits: Tensor) -> Tensor:
    """Pearson's correlation of every two classes' logits over the images: (N, K) -> (K, K).

    A class whose logit never varies correlates with none, itself included.
    """
    centred = logits - logits.mean(0)
    scaled: Tensor = centred / centred.norm(dim=0).clamp(min=torch.finfo(logits.dtype).tiny)
    return scaled.T @ scaled
