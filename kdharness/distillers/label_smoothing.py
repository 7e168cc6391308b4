"""Label smoothing: a uniform teacher that costs nothing."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("label_smoothing")
class LabelSmoothing(Distiller):
    """`L = (1 - smoothing) CE(s, y) + smoothing mean_k(-log softmax(s)_k)`: no teacher.

    Szegedy et al., CVPR 2016 (arXiv 1512.00567), section 7. The uniform part covers all K classes, the labelled one
    too, as in the paper and in torch. Cross-entropy training with a teacher that says 1/K: a baseline for methods
    whose gain may be regularisation.
    """

    class Config(DistillerConfig):
        smoothing: Annotated[
            float, Field(strict=True, ge=0, le=1, description="Weight of the uniform distribution (epsilon).")
        ] = 0.1

    config: Config
    paper = "Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, CVPR 2016. Equals torch's cross_entropy(label_smoothing=...)."
    family = "control"
    revision = 1
    preset = "szegedy2016"

    @property
    def needs(self) -> Needs:
        return Needs(teacher="none")

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "uniform": lambda: -F.log_softmax(in_full(student.logits), dim=1).mean(),
            }
        )

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": 1.0 - self.config.smoothing, "uniform": self.config.smoothing}
