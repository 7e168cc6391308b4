"""How large a student's logits are, raw and standardized (Logit Standardization, Figures 3 and 5)."""

import torch
from torch import Tensor

from kdharness.distillers.losses import standardized
from kdharness.evaluation.judged import Array, Found, Judged


def logits(judged: Judged) -> Found:
    """Means over the images of each image's mean, sample deviation and range (largest minus smallest) of its logits.

    Standardized logits have mean 0 and sample deviation 1, so only their range says something: `zscore_range`. For
    the figures: mean and deviation of every image, and all logits of the first one.
    """
    mean, std = judged.logits.double().mean(1), judged.logits.double().std(1)
    metrics = {
        "logit_mean": mean.mean().item(),
        "logit_std": std.mean().item(),
        "logit_range": _range(judged.logits).mean().item(),
        "zscore_range": _range(standardized(judged.logits)).mean().item(),
    }
    arrays = {"label": judged.labels[0].numpy(), **_drawn("student", judged.logits)}
    if judged.teacher_logits is not None:
        arrays |= _drawn("teacher", judged.teacher_logits)
    return Found(metrics, arrays)


def _drawn(who: str, values: Tensor) -> dict[str, Array]:
    drawn = {
        "mean": values.mean(1),
        "std": values.std(1),
        "zscore_mean": standardized(values).mean(1),
        "zscore_std": standardized(values).std(1),
        "first": values[0],
        "zscore_first": standardized(values[:1])[0],
    }
    return {f"{who}_{what}": value.to(torch.float32).numpy() for what, value in drawn.items()}


def _range(values: Tensor) -> Tensor:
    """(N, K) -> (N,)"""
    return values.double().amax(1) - values.double().amin(1)
