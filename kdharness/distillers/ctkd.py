"""CTKD: a learned temperature that works against the student, harder from epoch to epoch."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Epochs, Needs, NetworkView, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Standardize, StdKind, Weight
from kdharness.distillers.dkd import others, target_class_kl
from kdharness.distillers.losses import cross_entropy, in_full, softened_kl, standardized
from kdharness.distillers.registry import DISTILLERS

Strength = Annotated[float, Field(strict=True, ge=-1000, le=1000)]


@DISTILLERS.add("ctkd")
class CTKD(Distiller):
    """`L = ce_weight CE(s, y) + kd_weight T² KL(softmax(t/T) || softmax(s/T))`, `T = lowest + span sigmoid(g)`.

    Li et al., AAAI 2023 (arXiv 2211.16231), the global form that all released CIFAR tables use. `g` starts at 1 and
    learns with the student (same rate, momentum, weight decay); its gradient, T² included, is multiplied by lambda.
    The paper writes -lambda growing from 0 to 1; in the code the multiplier itself goes from 0 to -1 and is not
    negated: the same thing. It follows half a cosine (`linear` is the code's other form, which stops one step short
    of the end), and the code's `t_end` is a span: 1 and 20 make temperatures from 1 to 21.

    `base: dkd` puts DKD's two terms in place of kd, without a warm-up; the code lowers the target's logit by 1000,
    where current torch gives NaN for the gradient of T: here the class is left out, which is the limit.
    `standardize: zscore` (Sun et al., CVPR 2024) standardizes both logits; that code's flag is inverted, and it leaves
    DKD's logits raw.
    """

    class Config(DistillerConfig):
        base: Annotated[Literal["kd", "dkd"], Field(description="The loss whose temperature is learned.")] = "kd"
        ce_weight: CrossEntropyWeight = 0.1
        kd_weight: Annotated[Weight, Field(description="Weight of the divergence; base kd.")] = 0.9
        tckd_weight: Annotated[Weight, Field(description="Weight of the target class's part; base dkd.")] = 1.0
        nckd_weight: Annotated[Weight, Field(description="Weight of the other classes' part; base dkd.")] = 2.0
        lowest: Annotated[float, Field(strict=True, gt=0, le=1000, description="Lowest temperature (t_start).")] = 1.0
        span: Annotated[
            float, Field(strict=True, ge=0, le=1000, description="Highest minus lowest temperature (t_end).")
        ] = 20.0
        curriculum: Annotated[
            Literal["cosine", "linear"], Field(description="How the gradient's multiplier goes to its end.")
        ] = "cosine"
        curriculum_epochs: Annotated[
            int, Field(strict=True, ge=1, le=10_000, description="Epochs until its end."), Epochs()
        ] = 10
        first_multiplier: Annotated[Strength, Field(description="Multiplier of the gradient of g at epoch 0.")] = 0.0
        last_multiplier: Annotated[Strength, Field(description="Multiplier at the end; negative reverses.")] = -1.0
        standardize: Standardize = "none"
        std: StdKind = "sample"

    config: Config
    paper = (
        "Li et al., AAAI 2023. Equals CTKD 7d52522, helper/loops.py, models/temp_global.py; with zscore, Sun et al., "
        "CVPR 2024, logit-standardization-KD f6e5aa5, CTKD/distiller_zoo/KD.py."
    )
    revision = 1
    preset = "li2023ctkd"

    @property
    def needs(self) -> Needs:
        return Needs()

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        self.adapters = GlobalTemperature()
        return self.adapters

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        student_logits, teacher_logits = (
            standardized(in_full(each.logits), self.config.std, self.config.standardize) for each in (student, teacher)
        )
        temperature = self.temperature(batch.epoch)
        terms = batch.terms({"ce": lambda: cross_entropy(student.logits, batch.labels)})
        if self.config.base == "kd":
            return terms | batch.terms({"kd": lambda: softened_kl(student_logits, teacher_logits, temperature)})
        rest = others(student_logits, batch.labels), others(teacher_logits, batch.labels)
        return terms | batch.terms(
            {
                "tckd": lambda: target_class_kl(student_logits, teacher_logits, batch.labels, temperature),
                "nckd": lambda: softened_kl(*rest, temperature),
            }
        )

    def weights(self, epoch: int) -> Mapping[str, float]:
        config = self.config
        if config.base == "kd":
            return {"ce": config.ce_weight, "kd": config.kd_weight}
        return {"ce": config.ce_weight, "tckd": config.tckd_weight, "nckd": config.nckd_weight}

    def temperature(self, epoch: Tensor) -> Tensor:
        """T, (), whose gradient reaches g multiplied by `multiplier(epoch)`."""
        learned = self.adapters.global_T[0]
        multiplier = self.multiplier(epoch).to(learned.dtype)
        reversed_ = learned.detach() + multiplier * (learned - learned.detach())
        return self.config.lowest + self.config.span * torch.sigmoid(reversed_)

    def multiplier(self, epoch: Tensor) -> Tensor:
        """What the gradient of g is multiplied by in each epoch (from 1): same shape, float64."""
        config, at = self.config, epoch.to(torch.float64)
        first, last = config.first_multiplier, config.last_multiplier
        if config.curriculum == "linear":
            return first + (last - first) * at.clamp(max=config.curriculum_epochs - 1) / config.curriculum_epochs
        progress = at.clamp(max=config.curriculum_epochs) / config.curriculum_epochs
        return (1 + torch.cos(math.pi * progress)) / 2 * (first - last) + last


class GlobalTemperature(nn.Module):
    """The one scalar g, under its name in the released code."""

    def __init__(self) -> None:
        super().__init__()
        self.global_T = nn.Parameter(torch.ones(1))
