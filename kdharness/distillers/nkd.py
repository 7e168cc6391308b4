"""NKD: cross-entropy to the teacher, apart for the target class and for the others normalised among themselves."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Temperature, Weight
from kdharness.distillers.dkd import others
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("nkd")
class NKD(Distiller):
    """`L = ce_weight CE(s, y) + target_weight H_y + others_weight T² H_rest`.

    Yang et al., ICCV 2023 (arXiv 2303.13005). H_y = mean_b -p_t(y) log p_s(y) at temperature 1; H_rest is the cross
    entropy of the two softmaxes over the K-1 other classes at temperature T. Cross-entropies, not divergences: not 0
    for a student equal to its teacher. `others_weight` is the paper's gamma; the other two weights are 1 there.

    The code hides the target class by lowering its logit; here it is left out, the same numbers.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        target_weight: Annotated[Weight, Field(description="Weight of the target class's part.")] = 1.0
        others_weight: Annotated[Weight, Field(description="Weight of the other classes' part (gamma).")] = 3.5
        temperature: Annotated[Temperature, Field(description="Divides both logits of the other classes (T).")] = 3.0

    config: Config
    paper = "Yang et al., ICCV 2023. Equals cls_KD 1e5d48f, mmcls/models/dis_losses/nkd.py."
    revision = 1
    preset = "yang2023nkd"

    @property
    def needs(self) -> Needs:
        return Needs()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        student_logits, teacher_logits = in_full(student.logits), in_full(teacher.logits)
        target, temperature = batch.labels[:, None], self.config.temperature
        trust = F.softmax(teacher_logits, dim=1).gather(1, target)
        rest = F.softmax(others(teacher_logits, batch.labels) / temperature, dim=1)
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "target": lambda: -(trust * F.log_softmax(student_logits, dim=1).gather(1, target)).mean(),
                "others": lambda: (
                    temperature**2 * F.cross_entropy(others(student_logits, batch.labels) / temperature, rest)
                ),
            }
        )

    def weights(self, epoch: int) -> Mapping[str, float]:
        config = self.config
        return {"ce": config.ce_weight, "target": config.target_weight, "others": config.others_weight}
