"""DML: two students that train from scratch and follow each other."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Weight
from kdharness.distillers.losses import cross_entropy, in_full, kl_divergence
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("dml")
class DML(Distiller):
    """`L = ce_weight CE(s, y) + kl_weight KL(softmax(peer) || softmax(s))` for each of the two, the other detached.

    Zhang, Xiang, Hospedales and Lu, CVPR 2018 (arXiv 1706.00384), temperature 1. The peer is a second student of the
    teacher's architecture, from scratch; tables print the small one. Both losses come from one forward of the weights
    before the step, as in the codes; the paper's algorithm predicts again after the first network's update.

    The official code computes `mean_b sum_k p log(e + p / (q + e))` with e = 1e-8, p the peer's probabilities:
    `epsilon: 1e-8`. The default 0 is the exact divergence, what KD-Zoo and the paper have. The official code sums
    over several peers, the paper averages: the same for the one peer here.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        kl_weight: Annotated[Weight, Field(description="Weight of the divergence from the peer.")] = 1.0
        epsilon: Annotated[
            float, Field(strict=True, ge=0, le=0.01, description="The official code's summand; 0 is the exact form.")
        ] = 0.0

    config: Config
    paper = (
        "Zhang, Xiang, Hospedales, Lu, CVPR 2018. Equals Knowledge-Distillation-Zoo 65470c8, kd_losses/dml.py; with "
        "epsilon 1e-8 the authors' Deep-Mutual-Learning 34a2058, train_models.py."
    )
    revision = 1
    preset = "zhang2018dml"

    @property
    def needs(self) -> Needs:
        return Needs(teacher="architecture", peer=True)

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {"ce": lambda: cross_entropy(student.logits, batch.labels), "kl": lambda: self.guidance(student, teacher)}
        )

    def guidance(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The term `kl`: -> ()."""
        epsilon = self.config.epsilon
        if epsilon:
            divergence = padded_kl(student.logits, teacher.logits, epsilon)
        else:
            divergence = kl_divergence(student.logits, teacher.logits)
        return divergence

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "kl": self.config.kl_weight}


def padded_kl(student_logits: Tensor, peer_logits: Tensor, epsilon: float) -> Tensor:
    """The official code's divergence: finite for any logits, by `epsilon`: (B, K), (B, K) -> ()."""
    ours, theirs = F.softmax(in_full(student_logits), dim=1), F.softmax(in_full(peer_logits), dim=1)
    return (theirs * (epsilon + theirs / (ours + epsilon)).log()).sum(dim=1).mean()
