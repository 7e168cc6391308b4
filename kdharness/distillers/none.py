"""No distillation: the student alone."""

from collections.abc import Mapping

from torch import Tensor

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.losses import cross_entropy
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("none", "vanilla")
class NoDistillation(Distiller):
    """`L = CE(s, y)`: the baseline that every method starts from, and how teachers are trained."""

    class Config(DistillerConfig):
        """No constants: a weight on the only term would be a learning rate."""

    paper = "None: cross-entropy training. Equals mdistiller a08d46f, distillers/_base.py Vanilla."
    family = "control"
    revision = 1

    @property
    def needs(self) -> Needs:
        return Needs(teacher="none")

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return {"ce": cross_entropy(student.logits, batch.labels)}

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": 1.0}
