"""SKD: the student's logits are brought to the spread of the teacher's, row by row."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.constants import Temperature, Weight
from kdharness.distillers.losses import cross_entropy, in_full, softened_kl
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("skd")
class SKD(Distiller):
    """`L = ce_weight CE(s', y) + kd_weight T² KL(softmax(t/T) || softmax(s'/T))` with `s' = s std(t) / std(s)`.

    Guo et al. 2020 (arXiv 2010.07485). std is the sample's, over the classes of each row; the student's is
    differentiated. Cross-entropy sees the rescaled logits too. The code's alpha is `kd_weight`, 1 - alpha is
    `ce_weight`. The code's training loop is followed; its README (an older form: both logits through a layer norm,
    times a multiplier of 2) and its evaluation differ.

    The row's mean is taken off s', which no softmax sees. A constant student row, 0/0 in the code, has no direction
    to stretch: it stays constant, and its gradient is that of 1 in place of its std.
    """

    class Config(DistillerConfig):
        ce_weight: Annotated[Weight, Field(description="Weight of the cross-entropy of the rescaled logits.")] = 0.1
        kd_weight: Annotated[Weight, Field(description="Weight of the softened divergence (alpha).")] = 0.9
        temperature: Temperature = 4.0

    config: Config
    paper = "Guo et al., arXiv 2010.07485 (2020). Equals Spherical-Knowledge-Distillation 1c73fc0, skd_main.py."
    revision = 1
    preset = "guo2020skd"

    @property
    def needs(self) -> Needs:
        return Needs()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        rescaled = spread_as(student.logits, teacher.logits)
        return batch.terms(
            {
                "ce": lambda: cross_entropy(rescaled, batch.labels),
                "kd": lambda: softened_kl(rescaled, teacher.logits, self.config.temperature),
            }
        )

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "kd": self.config.kd_weight}


def spread_as(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Every student row, centred, with the teacher row's standard deviation; a constant row becomes 0: -> (B, K)."""
    student_logits, teacher_logits = in_full(student_logits), in_full(teacher_logits)
    centred = student_logits - student_logits.mean(dim=1, keepdim=True)
    deviation = centred.std(dim=1, keepdim=True)
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    return centred / deviation * teacher_logits.std(dim=1, keepdim=True)
