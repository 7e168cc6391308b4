"""SLD: where a prediction is wrong, the label's logit and the highest change places, and both are then followed."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from kdharness.core.types import Batch, Distiller, DistillerConfig, Epochs, Needs, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Weight
from kdharness.distillers.losses import cross_entropy, in_full, softened_kl
from kdharness.distillers.registry import DISTILLERS
from kdharness.distillers.views import of_both_views

TEMPERATURES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


@DISTILLERS.add("sld")
class SLD(Distiller):
    """`L = sum over two views of ce_weight CE(s, y) + kd_weight D(s, swap(t)) + pseudo_weight D(s, swap(s))`.

    Limantoro et al. 2025 (arXiv 2504.20108). `D(s, t) = sum_{T = 1..6} T² KL(softmax(t/T) || softmax(s/T))`; `swap`
    exchanges the logits of the label and of the highest class. The last term, the student as its own pseudo-teacher,
    begins after epoch `pseudo_after`: 150 is fixed in the code, so that with ImageNet's 100 epochs it never begins.

    As in the code the pseudo-teacher is not detached: the gradient flows through both sides. Where its probabilities
    underflow, the code's gradient is not a number; here all is in log space and it is the limit, 0.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 0.1
        kd_weight: Annotated[Weight, Field(description="Weight of the divergence to the teacher, swapped.")] = 0.9
        pseudo_weight: Annotated[Weight, Field(description="Weight of the divergence to the student, swapped.")] = 0.9
        pseudo_after: Annotated[
            int, Field(strict=True, ge=0, le=10_000, description="The last epoch without the pseudo-teacher."), Epochs()
        ] = 150

    config: Config
    paper = (
        "Limantoro, Lin, Wang, Tsai, arXiv 2504.20108 (2025). Equals Swapped-Logit-Distillation f035ede, "
        "distillers/SLD.py."
    )
    revision = 1
    preset = "limantoro2025sld"

    @property
    def needs(self) -> Needs:
        return Needs(views=2)

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        views = [(in_full(s), in_full(t)) for s, t in zip(of_both_views(student), of_both_views(teacher), strict=True)]
        labels = batch.labels
        return batch.terms(
            {
                "ce": lambda: torch.stack([cross_entropy(s, labels) for s, _ in views]).sum(),
                "kd": lambda: torch.stack([_divergences(s, swapped(t, labels)) for s, t in views]).sum(),
                "pseudo": lambda: torch.stack([_divergences(s, swapped(s, labels)) for s, _ in views]).sum(),
            }
        )

    def weights(self, epoch: int) -> Mapping[str, float]:
        config = self.config
        pseudo_weight = config.pseudo_weight if epoch > config.pseudo_after else 0.0
        return {"ce": config.ce_weight, "kd": config.kd_weight, "pseudo": pseudo_weight}


def swapped(logits: Tensor, labels: Tensor) -> Tensor:
    """Every row with the label's and the highest logit exchanged: (B, K), (B,) -> (B, K). A right row stays."""
    labels, highest = labels[:, None], logits.argmax(dim=1, keepdim=True)
    order = torch.arange(logits.shape[1], device=logits.device).repeat(len(logits), 1)
    return logits.gather(1, order.scatter(1, labels, highest).scatter(1, highest, labels))


def _divergences(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    return torch.stack([softened_kl(student_logits, teacher_logits, temperature) for temperature in TEMPERATURES]).sum()
