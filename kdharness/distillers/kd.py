"""KD: the student matches the teacher's softened class probabilities."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Standardize, StdKind, Temperature, Weight
from kdharness.distillers.losses import cross_entropy, softened_kl, standardized
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("kd")
class KD(Distiller):
    """`L = ce_weight CE(s, y) + kd_weight T² KL(softmax(t/T) || softmax(s/T))`, means over the batch.

    Hinton, Vinyals and Dean 2015 (arXiv 1503.02531), section 2. The paper mixes the two terms by one weight; the
    benchmark codes weigh them separately (0.1 and 0.9 at T = 4), which is what the defaults follow.

    `standardize: zscore` is logit standardization (Sun et al., CVPR 2024, arXiv 2403.01427): both logits are
    standardized over the classes of each row before the temperature, cross-entropy still sees raw logits. Paper
    (population standard deviation, Algorithm 1) and code (sample standard deviation plus 1e-7) disagree; the code is
    followed, `std: population` is the paper's.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 0.1
        kd_weight: Annotated[Weight, Field(description="Weight of the softened divergence (alpha, often).")] = 0.9
        temperature: Annotated[Temperature, Field(description="Divides both logits (T, tau).")] = 4.0
        standardize: Standardize = "none"
        std: StdKind = "sample"

    config: Config
    paper = (
        "Hinton, Vinyals, Dean, arXiv 1503.02531 (2015). Equals mdistiller a08d46f, distillers/KD.py; with zscore, "
        "Sun et al., CVPR 2024, logit-standardization-KD f6e5aa5, distillers/KD.py."
    )
    revision = 1
    preset = "hinton2015"

    @property
    def needs(self) -> Needs:
        return Needs()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        student_logits, teacher_logits = student.logits, teacher.logits
        if self.config.standardize == "zscore":
            student_logits = standardized(student_logits, self.config.std)
            teacher_logits = standardized(teacher_logits, self.config.std)
        return {
            "ce": cross_entropy(student.logits, batch.labels),
            "kd": softened_kl(student_logits, teacher_logits, self.config.temperature),
        }

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "kd": self.config.kd_weight}
