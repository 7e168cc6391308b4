"""KD-SVD: how the main directions of one stage's features relate to the next stage's."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, linalg, nn
from torch.nn import functional as F

from kdharness.core.errors import IncompatiblePair
from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Needs, NetworkView, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Weight
from kdharness.distillers.layers import LayerPairs, Layers, comparing, layer_pairs, require_map
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.maps import at_the_smaller_size
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("kdsvd")
class KDSVD(Distiller):
    """`L = ce_weight CE(s, y) + relation_weight sum ||R_s - R_t||² / B` over consecutive pairs of stages.

    Lee, Kim and Song, ECCV 2018 (arXiv 1807.06819), section 3. Of each map, as a matrix, the teacher gives its `rank`
    first right singular vectors; the student, of its first `rank` + 3, the one most alike to each of them (by the
    absolute cosine, with its sign). Both are scaled by the teacher's singular values (normalised, so 1 for rank 1).
    R = exp(-(a - b)² / 8) for every entry a of one stage's vectors and b of the next one's.

    Two codes, two methods. `mdistiller` takes the matrix (C H) x W and computes in float32 whatever comes in; where
    the two maps of a pair differ in width, on which that code fails, the higher one is averaged to the lower one's size
    first, our choice, as AT does. `repdistiller` takes (H W) x C, as the paper, so stages must agree in channels. In
    both the gradient is not defined where singular values coincide or vanish.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        relation_weight: Annotated[Weight, Field(description="Weight of the relations.")] = 1.0
        form: Annotated[
            Literal["mdistiller", "repdistiller"], Field(description="Which of the two released codes it equals.")
        ] = "mdistiller"
        rank: Annotated[int, Field(strict=True, ge=1, le=64, description="Teacher's singular vectors (k).")] = 1
        layers: Layers = "all"

    config: Config
    paper = (
        "Lee, Kim, Song, ECCV 2018. Equals mdistiller a08d46f, distillers/KDSVD.py, or RepDistiller b84f547, "
        "distiller_zoo/KDSVD.py (both with `layers: first`)."
    )
    family = "features"
    revision = 1
    preset = "lee2018kdsvd"
    pairs: LayerPairs = ()

    @property
    def needs(self) -> Needs:
        return comparing(self.pairs)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """Choose the layers; there are no adapters. Raises IncompatiblePair."""
        self.pairs = layer_pairs("kdsvd", self.config.layers, student, teacher)
        for ours, theirs in self.pairs:
            one = require_map("kdsvd", "student", student, ours)
            other = require_map("kdsvd", "teacher", teacher, theirs)
            if self.config.form == "repdistiller" and one[0] != other[0]:
                raise IncompatiblePair(
                    f"kdsvd (repdistiller) needs equal channels: the student's {ours} is {one}, the teacher's {theirs} "
                    f"{other}",
                    remedy="compare layers that agree, `layers: stage1=stage1 stage2=stage2`, or take `form: "
                    "mdistiller`, which compares widths",
                )
        if len(self.pairs) < 2:
            raise IncompatiblePair(f"kdsvd relates consecutive stages and needs two pairs of them, not {self.pairs}")
        return nn.Module()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "relation": lambda: self.guidance(student, teacher, batch),
            }
        )

    def guidance(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """The term `relation`: -> ()."""
        rank = self.config.rank
        relations, before = [], None
        for ours, theirs in self.pairs:
            features, target = in_full(student.stages[ours]), in_full(teacher.stages[theirs])
            if self.config.form == "mdistiller":
                features, target = at_the_smaller_size(features, target)
            one, _ = self.directions(features, rank + 3)
            other, values = self.directions(target, rank)
            now = aligned(one, other) * values[:, None], other * values[:, None]
            if before is not None:
                difference = relation(now[0], before[0]) - relation(now[1], before[1])
                relations.append(difference.to(features.dtype).square().flatten(1).sum(1))
            before = now
        return torch.stack(relations).sum() / len(batch.labels)

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "relation": self.config.relation_weight}

    def directions(self, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """First right singular vectors and the values, both normalised: (B, C, H, W) -> (B, N, count), (B, count)."""
        matrices = features.flatten(1, 2).float() if self.config.form == "mdistiller" else features.flatten(2).mT
        _, values, vectors = linalg.svd(matrices, full_matrices=False)
        return F.normalize(vectors.mT[:, :, :count], dim=1), F.normalize(values[:, :count], dim=1)


def aligned(student: Tensor, teacher: Tensor) -> Tensor:
    """For each of the teacher's vectors the student's most alike, with its sign: (B, N, J), (B, N, K) -> (B, N, K)."""
    cosines = student.mT @ teacher
    strength = cosines.abs()
    chosen = torch.where(strength == strength.amax(1, keepdim=True), cosines.sign(), 0.0)
    return student @ chosen


def relation(now: Tensor, before: Tensor) -> Tensor:
    """Radial basis function of every entry against every entry of the stage before: -> (B, N, M, K)."""
    return (-(now[:, :, None] - before[:, None]).square() / 8).exp()
