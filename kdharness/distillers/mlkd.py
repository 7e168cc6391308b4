"""MLKD: the teacher is followed image by image, in how images relate and in how classes relate, by two views."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Standardize, StdKind, Temperature, Weight
from kdharness.distillers.losses import cross_entropy, in_full, softened_kl, standardized
from kdharness.distillers.registry import DISTILLERS
from kdharness.distillers.views import of_both_views

ON_THE_SECOND_VIEW = (3.0, 5.0)
ON_THE_FIRST_VIEW_TWICE = (2.0, 6.0)
"""Temperatures beside the first; where their name says, the code takes the weak logits for the strong term."""


@DISTILLERS.add("mlkd")
class MLKD(Distiller):
    """`L = ce_weight (CE(w) + CE(v)) + instance_weight I + batch_weight G + class_weight C`; w weak view, v strong.

    Jin, Wang and Lin, CVPR 2023. With KL_T softened divergence and P_T = softmax(z/T), T in {temperature, 3, 5, 2, 6}:
    `I = f_b sum_T KL_T(w) + sum_{temperature, 3, 5} KL_T(v) + sum_{2, 6} KL_T(w)`,
    `G = f_b sum_T ||P P' of teacher - of student||² / B`, `C = f_k sum_T ||P' P of teacher - of student||² / K`, both
    on the weak view and without T².

    The released code is followed, which is not quite the paper: its masks (teacher's confidence, and its mass per
    class, up to the median) multiply means, so that they act as fractions f_b and f_k (near 1/2) and choose no image
    or class; its strong terms at T = 2 and 6 read the weak logits; its strong batch and class terms are dropped. The
    code has one weight for the three levels, written out here as three equal ones.

    `standardize` (Sun et al., CVPR 2024) acts in the divergences alone: relations and masks read raw logits.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 0.1
        instance_weight: Annotated[Weight, Field(description="Weight of the divergences, image by image.")] = 0.9
        batch_weight: Annotated[Weight, Field(description="Weight of the relations among images.")] = 0.9
        class_weight: Annotated[Weight, Field(description="Weight of the relations among classes.")] = 0.9
        temperature: Annotated[Temperature, Field(description="The first of five; the others are 3, 5, 2 and 6.")] = 4.0
        standardize: Standardize = "none"
        std: StdKind = "sample"

    config: Config
    paper = (
        "Jin, Wang, Lin, CVPR 2023. Equals Multi-Level-Logit-Distillation 5ee473f, distillers/KD_ours.py; with zscore, "
        "Sun et al., CVPR 2024, logit-standardization-KD f6e5aa5, distillers/MLKD.py."
    )
    revision = 1
    preset = "jin2023mlkd"

    @property
    def needs(self) -> Needs:
        return Needs(views=2)

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        config, labels = self.config, batch.labels
        (weak, strong), (teacher_weak, teacher_strong) = (
            [in_full(logits) for logits in of_both_views(each)] for each in (student, teacher)
        )
        always, doubled = (config.temperature, *ON_THE_SECOND_VIEW), ON_THE_FIRST_VIEW_TWICE
        teacher_says = teacher_weak.softmax(dim=1)
        images = up_to_the_median(teacher_says.amax(dim=1))
        classes = up_to_the_median(teacher_says.sum(dim=0))
        of_images, of_classes = relations(weak, teacher_weak, (*always, *doubled))
        return batch.terms(
            {
                "ce": lambda: cross_entropy(weak, labels) + cross_entropy(strong, labels),
                "instance": lambda: (
                    images * self._divergences(weak, teacher_weak, (*always, *doubled))
                    + self._divergences(strong, teacher_strong, always)
                    + self._divergences(weak, teacher_weak, doubled)
                ),
                "batch": lambda: images * of_images,
                "class": lambda: classes * of_classes,
            }
        )

    def weights(self, epoch: int) -> Mapping[str, float]:
        config = self.config
        return {
            "ce": config.ce_weight,
            "instance": config.instance_weight,
            "batch": config.batch_weight,
            "class": config.class_weight,
        }

    def _divergences(self, student_logits: Tensor, teacher_logits: Tensor, temperatures: tuple[float, ...]) -> Tensor:
        s, t = (
            standardized(logits, self.config.std, self.config.standardize)
            for logits in (student_logits, teacher_logits)
        )
        return torch.stack([softened_kl(s, t, temperature) for temperature in temperatures]).sum()


def up_to_the_median(values: Tensor) -> Tensor:
    """The part of the values that are at most their median: (N,) -> ()."""
    return (values <= values.quantile(0.5)).to(values.dtype).mean()


def relations(student_logits: Tensor, teacher_logits: Tensor, temperatures: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Squared distances of P P' over B, and of P' P over K, summed over the temperatures: (B, K), (B, K) -> (), ()."""
    rows, classes = student_logits.shape
    among_images, among_classes = [], []
    for temperature in temperatures:
        s, t = (student_logits / temperature).softmax(dim=1), (teacher_logits / temperature).softmax(dim=1)
        among_images.append((t @ t.T - s @ s.T).square().sum() / rows)
        among_classes.append((t.T @ t - s.T @ s).square().sum() / classes)
    return torch.stack(among_images).sum(), torch.stack(among_classes).sum()
