"""PKT: the chance that one image picks another as its neighbour is the teacher's."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor, linalg

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Weight
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("pkt")
class PKT(Distiller):
    """`L = ce_weight CE(s, y) + neighbour_weight mean(P_t log((P_t + e) / (P_s + e)))`, the mean over B² pairs.

    Passalis and Tefas, ECCV 2018 (arXiv 1803.10837), section 3 with the cosine kernel, on the pooled features:
    P is (cosine + 1) / 2, each row divided by its sum (an image counts as its own neighbour, in the code). The paper
    sums, the code averages and weights by 30000. e is 1e-7, in the norm as well. An all-zero row has no direction:
    its gradient is 0 here and NaN in the code.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        neighbour_weight: Annotated[Weight, Field(description="Weight of the divergence.")] = 30000.0
        epsilon: Annotated[float, Field(strict=True, gt=0, le=1, description="Added to norms and probabilities.")] = (
            1e-7
        )

    config: Config
    paper = "Passalis, Tefas, ECCV 2018. Equals mdistiller a08d46f, distillers/PKT.py, and RepDistiller b84f547."
    family = "relations"
    revision = 1
    preset = "passalis2018pkt"

    @property
    def needs(self) -> Needs:
        return Needs(teacher_pooled=True)

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "neighbour": lambda: self.guidance(student, teacher),
            }
        )

    def guidance(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The term `neighbour`: -> ()."""
        epsilon = self.config.epsilon
        ours, theirs = self.neighbours(student.pooled), self.neighbours(teacher.pooled)
        divergence = theirs * ((theirs + epsilon) / (ours + epsilon)).log()
        return divergence.mean()

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "neighbour": self.config.neighbour_weight}

    def neighbours(self, pooled: Tensor) -> Tensor:
        """The chance of row i to pick row j: (B, D) -> (B, B), rows sum to 1."""
        rows = in_full(pooled).flatten(1)
        rows = rows / (linalg.vector_norm(rows, dim=1, keepdim=True) + self.config.epsilon)
        likeness: Tensor = (rows @ rows.T + 1) / 2
        return likeness / likeness.sum(1, keepdim=True)
