"""DKD: the divergence to the teacher taken apart into the target class and the rest, each with its own weight."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.constants import (
    CrossEntropyWeight,
    Standardize,
    StdKind,
    Temperature,
    Warmup,
    Weight,
)
from kdharness.distillers.losses import cross_entropy, in_full, softened_kl, standardized, warmed_up
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("dkd")
class DKD(Distiller):
    """`L = ce_weight CE(s, y) + w(epoch) (tckd_weight TCKD + nckd_weight NCKD)`.

    Zhao et al., CVPR 2022 (arXiv 2203.08679), section 3. TCKD is T² KL between teacher and student of
    (p_y, 1 - p_y); NCKD is T² KL over the K-1 other classes alone, not weighted by 1 - p_y of the teacher. With
    weights 1 and the teacher's 1 - p_y they would sum to KD. `w` grows linearly to 1 over `warmup` epochs, which only
    the code has; it scales the distillation part alone.

    The code hides the target class by lowering its logit by 1000 and takes a plain log of the two-way
    probabilities, which overflows for large logits. Here the target class is left out and all is computed in log
    space: the same numbers where the code's are finite, finite numbers elsewhere.

    `standardize: zscore` is DKD+LS (Sun et al., CVPR 2024): both logits are standardized for the distillation part;
    that code's `--kd-weight` multiplies both weights, which is written out in the preset.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        tckd_weight: Annotated[Weight, Field(description="Weight of the target class's part (the paper's alpha).")] = (
            1.0
        )
        nckd_weight: Annotated[Weight, Field(description="Weight of the other classes' part (the paper's beta).")] = 8.0
        temperature: Temperature = 4.0
        warmup: Warmup = 20
        standardize: Standardize = "none"
        std: StdKind = "sample"

    config: Config
    paper = (
        "Zhao, Cui, Song, Qiu, Liang, CVPR 2022. Equals mdistiller a08d46f, distillers/DKD.py; with zscore, Sun et "
        "al., CVPR 2024, logit-standardization-KD f6e5aa5, distillers/DKD.py."
    )
    revision = 1
    preset = "zhao2022dkd"

    @property
    def needs(self) -> Needs:
        return Needs()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        student_logits, teacher_logits = (
            standardized(in_full(each.logits), self.config.std, self.config.standardize) for each in (student, teacher)
        )
        temperature = self.config.temperature
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "tckd": lambda: target_class_kl(student_logits, teacher_logits, batch.labels, temperature),
                "nckd": lambda: softened_kl(
                    others(student_logits, batch.labels), others(teacher_logits, batch.labels), temperature
                ),
            }
        )

    def weights(self, epoch: int) -> Mapping[str, float]:
        config = self.config
        return {
            "ce": config.ce_weight,
            "tckd": warmed_up(config.tckd_weight, epoch, config.warmup),
            "nckd": warmed_up(config.nckd_weight, epoch, config.warmup),
        }


def others(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits of all classes but the labelled one, in order: (B, K), (B,) -> (B, K-1)."""
    position = torch.arange(logits.shape[1] - 1, device=logits.device)
    return logits.gather(1, position + (position >= labels[:, None]))


def target_class_kl(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float | Tensor
) -> Tensor:
    """T² times the batch mean of the divergence between the two-way distributions (p_y, 1 - p_y): -> ()."""
    student_log = _two_way_log(student_logits / temperature, labels)
    teacher_log = _two_way_log(teacher_logits / temperature, labels)
    return temperature**2 * F.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True)


def _two_way_log(logits: Tensor, labels: Tensor) -> Tensor:
    """(log p_y, log(1 - p_y)), both finite: (B, K), (B,) -> (B, 2).

    The log-odds of the target class are its logit minus the logsumexp of the others.
    """
    odds = logits.gather(1, labels[:, None]) - others(logits, labels).logsumexp(dim=1, keepdim=True)
    return torch.cat((F.logsigmoid(odds), F.logsigmoid(-odds)), dim=1)
