"""TTM: the teacher's probabilities are raised to a power, the student keeps temperature 1."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Exponent, Weight
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("ttm")
class TTM(Distiller):
    """`L = ce_weight CE(s, y) + ttm_weight KL(q || softmax(s))` with `q = softmax(t)^exponent / sum`, no T².

    Zheng and Yang, ICLR 2024 (arXiv 2402.11148): transformed teacher matching. The exponent is the paper's gamma, a
    temperature 1 / exponent on the teacher alone, so the term is not 0 for a student equal to its teacher.
    Paper and code agree on the formula. As in the code a teacher probability that underflows counts 0, where
    softmax(exponent t) would still see it. The code's `-a` (another distiller's weight, 0 in its commands) is a sum
    of methods here.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        ttm_weight: Annotated[Weight, Field(description="Weight of the divergence (the paper's beta).")] = 45.0
        exponent: Exponent = 0.1

    config: Config
    paper = "Zheng, Yang, ICLR 2024. Equals TTM fe457b3, distiller_zoo/ttm.py."
    revision = 1
    preset = "zheng2024ttm"

    @property
    def needs(self) -> Needs:
        return Needs()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {"ce": lambda: cross_entropy(student.logits, batch.labels), "ttm": lambda: self.guidance(student, teacher)}
        )

    def guidance(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The term `ttm`: -> ()."""
        divergence, _ = transformed_kl(student.logits, teacher.logits, self.config.exponent)
        return divergence.mean()

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "ttm": self.config.ttm_weight}


def transformed_kl(student_logits: Tensor, teacher_logits: Tensor, exponent: float) -> tuple[Tensor, Tensor]:
    """Per image the divergence KL(u / U || softmax(s)) and U, the sum of u = softmax(t)^exponent: -> (B,), (B,)."""
    powers = F.softmax(in_full(teacher_logits), dim=1) ** exponent
    total = powers.sum(dim=1)
    student_log = F.log_softmax(in_full(student_logits), dim=1)
    return F.kl_div(student_log, powers / total[:, None], reduction="none").sum(dim=1), total
