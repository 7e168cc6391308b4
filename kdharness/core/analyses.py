"""The analyses of a trained student by name, and the metrics each of them stores; `evaluation` computes them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kdharness.core.errors import BadInput

ANALYSES: Mapping[str, tuple[str, ...]] = {
    "calibration": ("ece", "mce", "brier", "nll", "fpr95"),
    "classes": ("worst_class_error", "hardest_classes_error", "hardest_classes_below_teacher"),
    "entropy": ("entropy", "instance_variance", "mutual_information"),
    "gradients": ("gradient_norm", "gradient_variance"),
    "fidelity": (
        "agreement", "teacher_kl", "logit_distance", "logit_difference", "logit_difference_max", "zscore_difference",
        "zscore_difference_max", "correlation_difference",
    ),
    "logits": ("logit_mean", "logit_std", "logit_range", "zscore_range"),
    "features": (),
    "perception": ("softened_entropy", "perceived_entropy"),
    "cost": (
        "step_ms", "step_memory_mib", "extra_parameters", "batch_ms", "batch_memory_mib", "multiply_adds",
    ),
    "transfer": ("transfer_top1",),
}  # fmt: skip
"""Name -> its metrics without the split in front; those of `cost` have the device behind them where they need it,
that of `transfer` the dataset within: `test_ece`, `train_step_ms_cpu`, `test_transfer_stl10_top1`."""

HEADLINE = re.compile(r"_(last|best)$|^train_seconds$")
"""Metrics that a run is completed with, and that nothing measured later may touch."""

_TRANSFER = re.compile(r"transfer to ([A-Za-z0-9][A-Za-z0-9._-]*)")


@dataclass(frozen=True)
class Analysis:
    """One analysis that is asked for."""

    name: str
    to: str | None = None
    """The dataset that `transfer` goes to."""

    @property
    def text(self) -> str:
        """As it is written: `calibration`, `transfer to stl10`."""
        return f"{self.name} to {self.to}" if self.to else self.name

    @classmethod
    def parse(cls, text: str) -> "Analysis":
        """Raises BadInput for a name that no analysis has."""
        transfer = _TRANSFER.fullmatch(text)
        if transfer:
            return cls("transfer", transfer[1])
        if text not in ANALYSES or text == "transfer":
            raise BadInput(f"unknown analysis {text!r}", remedy=f"Analyses: {', '.join(WRITTEN)}")
        return cls(text)


WRITTEN = tuple(name if name != "transfer" else "transfer to DATASET" for name in ANALYSES)
"""How each is asked for."""

DEFAULT = ("calibration", "classes", "entropy", "fidelity", "logits")
"""What is computed where nothing is named: all that takes one pass over the images."""


def is_analysis_metric(metric: str) -> bool:
    """Whether an analysis stores this metric: `test_ece`, `train_step_ms_cpu`."""
    split, _, what = metric.partition("_")
    if split not in ("train", "val", "test"):
        return False
    if re.fullmatch(r"transfer_.+_top1", what):
        return True
    if re.fullmatch(r"(step|batch)_(ms|memory_mib)_.+", what):
        return True
    return any(what in names for names in ANALYSES.values()) and not what.endswith(("_ms", "_mib"))
