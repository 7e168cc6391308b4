"""SP: two images are as similar for the student as they are for the teacher."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Needs, NetworkView, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Weight
from kdharness.distillers.layers import LayerPairs, comparing, last_stage
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("sp")
class SP(Distiller):
    """`L = ce_weight CE(s, y) + similarity_weight ||G_s - G_t||² / B²`, G the rows' normalised Gram matrix.

    Tung and Mori, ICCV 2019 (arXiv 1907.09682), section 3, on the last stage alone, as the codes have
    it (RepDistiller's was verified by the author). Each row of F Fᵀ is divided by its
    L2 norm. Maps of any channels and sizes; a batch of one image has no relations: 0. Weight 3000 is the code's.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        similarity_weight: Annotated[Weight, Field(description="Weight of the similarities (gamma).")] = 3000.0

    config: Config
    paper = "Tung, Mori, ICCV 2019. Equals mdistiller a08d46f, distillers/SP.py, and RepDistiller b84f547."
    family = "relations"
    revision = 1
    preset = "tung2019sp"
    pairs: LayerPairs = ()

    @property
    def needs(self) -> Needs:
        return comparing(self.pairs)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """Choose the layers; there are no adapters. Raises IncompatiblePair."""
        self.pairs = ((last_stage("sp", "student", student), last_stage("sp", "teacher", teacher)),)
        return nn.Module()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "similarity": lambda: self.guidance(student, teacher),
            }
        )

    def guidance(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The term `similarity`: -> ()."""
        ((ours, theirs),) = self.pairs
        difference = similarities(student.stages[ours]) - similarities(teacher.stages[theirs])
        return difference.square().mean()

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "similarity": self.config.similarity_weight}


def similarities(features: Tensor) -> Tensor:
    """Inner products of the batch's flattened maps, each row normalised: (B, C, H, W) -> (B, B)."""
    rows = in_full(features).flatten(1)
    return F.normalize(rows @ rows.T, dim=1)
