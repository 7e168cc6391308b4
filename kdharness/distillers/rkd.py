"""RKD: distances and angles among the images of a batch are those that the teacher sees."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Weight
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("rkd")
class RKD(Distiller):
    """`L = ce_weight CE(s, y) + distance_weight l(d_s, d_t) + angle_weight l(a_s, a_t)`, l the mean smooth L1.

    Park et al., CVPR 2019 (arXiv 1904.05068), section 3.2, on the pooled features, whose widths may differ.
    d are the pairs' distances over their mean (the student's mean is differentiated too), the mean taken over all B²
    entries, the zero diagonal among them; a are the cosines of the angles that every pair makes at every image, over
    all B³. The distances come from the Gram matrix, clamped at `epsilon`, as in the code: near duplicates are inexact.
    The weights are the code's. A batch of one image has no relations: 0 (NaN in the code).
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        distance_weight: Annotated[Weight, Field(description="Weight of the distances.")] = 25.0
        angle_weight: Annotated[Weight, Field(description="Weight of the angles.")] = 50.0
        squared: Annotated[bool, Field(strict=True, description="Compares squared distances.")] = False
        epsilon: Annotated[
            float, Field(strict=True, gt=0, le=1, description="Squared distances below it count as it.")
        ] = 1e-12

    config: Config
    paper = "Park, Kim, Lu, Cho, CVPR 2019. Equals mdistiller a08d46f, distillers/RKD.py, and RepDistiller b84f547."
    family = "relations"
    revision = 1
    preset = "park2019rkd"

    @property
    def needs(self) -> Needs:
        return Needs(teacher_pooled=True)

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        ours, theirs = in_full(student.pooled).flatten(1), in_full(teacher.pooled).flatten(1)
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "distance": lambda: F.smooth_l1_loss(self.distances(ours), self.distances(theirs)),
                "angle": lambda: F.smooth_l1_loss(angles(ours), angles(theirs)),
            }
        )

    def weights(self, epoch: int) -> Mapping[str, float]:
        config = self.config
        return {"ce": config.ce_weight, "distance": config.distance_weight, "angle": config.angle_weight}

    def distances(self, points: Tensor) -> Tensor:
        """Distances between the rows, over the mean of those between two rows: (B, D) -> (B, B)."""
        rows = len(points)
        norms = points.square().sum(1)
        found = (norms[:, None] + norms - 2 * points @ points.T).clamp(min=self.config.epsilon)
        if not self.config.squared:
            found = found.sqrt()
        found = found * (1 - torch.eye(rows, dtype=found.dtype, device=found.device))
        return found / (found.sum() / (rows * (rows - 1))) if rows > 1 else found


def angles(points: Tensor) -> Tensor:
    """For every row i the cosines between the directions from it to the rows j and k: (B, D) -> (B, B, B)."""
    directions = F.normalize(points - points[:, None], dim=2)
    return directions @ directions.mT
