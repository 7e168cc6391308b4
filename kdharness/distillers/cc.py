"""CC: where the embedded student and teacher differ on one image, they should not differ on the next."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Needs, NetworkView, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Weight
from kdharness.distillers.embedding import embeddings
from kdharness.distillers.losses import cross_entropy
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("cc")
class CC(Distiller):
    """`L = ce_weight CE(s, y) + correlation_weight mean_b sum_d D[b, d] D[b + 1, d]`, D = |embedded s - embedded t|.

    Peng et al., ICCV 2019 (arXiv 1904.01802). The paper compares correlation matrices of the batch; the
    code that its authors gave to RepDistiller, followed here because the published benchmark numbers are its, takes
    the product of the differences on consecutive images alone, so it depends on the order of the batch. Both linear
    embeddings of the pooled features are trained. A batch of one image has no pair: 0 (NaN in the code).
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        correlation_weight: Annotated[Weight, Field(description="Weight of the correlations (beta).")] = 0.02
        dimension: Annotated[int, Field(strict=True, ge=1, le=65536, description="Width of the embeddings.")] = 128

    config: Config
    paper = "Peng et al., ICCV 2019. Equals RepDistiller b84f547, distiller_zoo/CC.py."
    family = "relations"
    revision = 1
    order_matters = "the code multiplies the differences of consecutive rows"
    preset = "peng2019cc"

    @property
    def needs(self) -> Needs:
        return Needs(teacher_pooled=True)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        self.embeddings = embeddings(student, teacher, self.config.dimension)
        return self.embeddings

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "correlation": lambda: self.guidance(student, teacher),
            }
        )

    def guidance(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The term `correlation`: -> ()."""
        ours, theirs = self.embeddings["embed_s"](student.pooled), self.embeddings["embed_t"](teacher.pooled)
        difference = (ours - theirs).abs()
        products: Tensor = (difference[:-1] * difference[1:]).sum()
        return products / max(len(difference) - 1, 1)

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "correlation": self.config.correlation_weight}
