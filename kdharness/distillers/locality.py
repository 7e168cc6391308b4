"""Locality guidance: a vision transformer's early features follow those of a small convolutional network."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Needs, NetworkView, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Weight
from kdharness.distillers.layers import LayerPairs, Layers, comparing, layer_pairs
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.maps import as_weights
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("locality")
class Locality(Distiller):
    """`L = ce_weight CE(s, y) + guidance_weight sum over stages mean((r(c(f_s)) - r(f_t))²)`.

    Li et al., ECCV 2022 (arXiv 2207.10026), section 3. f_s are the patches of a block as a map, without the
    class token; c is a 1x1 convolution with bias to the teacher's channels, learned with the student; r resizes both
    bilinearly to the larger height and width. The teacher sees the same augmented images, shrunk to its own size (the
    recipe's `teacher_image_size`), and runs in train mode, as in the code. Which blocks are compared the presets say
    (the first, a middle one and the last); `all` takes those at the same depth.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        guidance_weight: Annotated[Weight, Field(description="Weight of the features.")] = 2.5
        layers: Layers = "all"

    config: Config
    paper = "Li, Yu, Wang, Yuan, Song, Chen, ECCV 2022. Equals tiny-transformers d2165f7, pycls/models/distill.py."
    family = "features"
    revision = 1
    preset = "li2022locality"
    pairs: LayerPairs = ()

    @property
    def needs(self) -> Needs:
        needs = comparing(self.pairs)
        return Needs(stages=needs.stages, teacher_stages=needs.teacher_stages, teacher_mode="train")

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """A convolution per pair of layers. Raises IncompatiblePair."""
        self.pairs = layer_pairs("locality", self.config.layers, student, teacher)
        self.adapters = nn.ModuleList(
            nn.Conv2d(student.shapes[ours][0], teacher.shapes[theirs][0], 1) for ours, theirs in self.pairs
        )
        return self.adapters

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "guidance": lambda: self.guidance(student, teacher),
            }
        )

    def guidance(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The term `guidance`: -> ()."""
        parts = []
        for (ours, theirs), adapter in zip(self.pairs, self.adapters, strict=True):
            one, other = adapter(as_weights(student.stages[ours], adapter)), in_full(teacher.stages[theirs])
            size = max(one.shape[2], other.shape[2]), max(one.shape[3], other.shape[3])
            parts.append(F.mse_loss(bilinear(one, size), bilinear(other, size)))
        return torch.stack(parts).sum()

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "guidance": self.config.guidance_weight}


def bilinear(features: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, C, *size), corners not aligned."""
    for axis, length in zip((2, 3), size, strict=True):
        if features.shape[axis] != length:
            # as a product: unlike torch's own form, the same gradient at every run on a GPU
            each = torch.eye(features.shape[axis], dtype=features.dtype, device=features.device)
            spread = F.interpolate(each[None], length, mode="linear")[0]
            features = (features.transpose(axis, -1) @ spread).transpose(axis, -1)
    return features
