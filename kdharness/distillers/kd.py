"""KD: the student matches the teacher's softened class probabilities."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Reduction, Standardize, StdKind, Temperature, Weight
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
    followed, `std: population` is the paper's. `mean` and `std` alone are columns of their Table 4: behind a softmax
    `mean` is plain KD and `std` is `zscore`, so what the table prints between them is not the method's.

    `reduction: mean` divides by the classes too, as the code of teacher assistants does (Mirzadeh et al., AAAI 2020;
    torch's default for KLDivLoss): their kd weights are for a term K times smaller.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 0.1
        kd_weight: Annotated[Weight, Field(description="Weight of the softened divergence (alpha, often).")] = 0.9
        temperature: Temperature = 4.0
        standardize: Standardize = "none"
        std: StdKind = "sample"
        reduction: Reduction = "batch"

    config: Config
    paper = (
        "Hinton, Vinyals, Dean, arXiv 1503.02531 (2015). Equals mdistiller a08d46f, distillers/KD.py; with zscore, "
        "Sun et al., CVPR 2024, logit-standardization-KD f6e5aa5, distillers/KD.py; with reduction mean, Mirzadeh et "
        "al., AAAI 2020, Teacher-Assistant-Knowledge-Distillation 0f8168f, train.py."
    )
    revision = 1
    preset = "hinton2015"

    @property
    def needs(self) -> Needs:
        return Needs()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        # kd first: autograd adds the parts of a gradient in the order of the graph, and the sum's last bits with it
        return batch.terms(
            {
                "kd": lambda: self.guidance(student, teacher),
                "ce": lambda: cross_entropy(student.logits, batch.labels),
            }
        )

    def guidance(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The term `kd`: -> ()."""
        config = self.config
        student_logits, teacher_logits = (
            standardized(each.logits, config.std, config.standardize) for each in (student, teacher)
        )
        divergence = softened_kl(student_logits, teacher_logits, config.temperature)
        return divergence if config.reduction == "batch" else divergence / student.logits.shape[1]

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "kd": self.config.kd_weight}
