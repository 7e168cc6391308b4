"""WTTM: TTM with every image weighted by how undecided its teacher is."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Exponent, Weight
from kdharness.distillers.losses import cross_entropy
from kdharness.distillers.registry import DISTILLERS
from kdharness.distillers.ttm import transformed_kl


@DISTILLERS.add("wttm")
class WTTM(Distiller):
    """`L = ce_weight CE(s, y) + wttm_weight mean_b(U_b KL(q_b || softmax(s_b)))`, `q = softmax(t)^exponent / U`, no T².

    Zheng and Yang, ICLR 2024 (arXiv 2402.11148). U is the sum over the classes of softmax(t)^exponent: 1 for a
    teacher that is sure, K^(1 - exponent) for one that is not. Paper and code agree; the weights are not normalised
    over the batch, so the term's scale grows with the number of classes.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        wttm_weight: Annotated[Weight, Field(description="Weight of the weighted divergence (the paper's beta).")] = (
            2.25
        )
        exponent: Exponent = 0.1

    config: Config
    paper = "Zheng, Yang, ICLR 2024. Equals TTM fe457b3, distiller_zoo/wttm.py."
    revision = 1
    preset = "zheng2024ttm"

    @property
    def needs(self) -> Needs:
        return Needs()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {"ce": lambda: cross_entropy(student.logits, batch.labels), "wttm": lambda: self.guidance(student, teacher)}
        )

    def guidance(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The term `wttm`: -> ()."""
        divergence, total = transformed_kl(student.logits, teacher.logits, self.config.exponent)
        return (total * divergence).mean()

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "wttm": self.config.wttm_weight}
