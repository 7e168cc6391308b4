"""LumiNet: logits standardized per class over the batch before they are compared."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Temperature, Warmup, Weight
from kdharness.distillers.losses import cross_entropy, in_full, kl_divergence, warmed_up
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("luminet")
class LumiNet(Distiller):
    """`L = ce_weight CE(s, y) + w(epoch) kd_weight KL(softmax(h(t)/T) || softmax(h(s)/T))`, no T².

    Hossain et al., TMLR 2025, equations 1 and 2. `h` standardizes every class over the batch; teacher and student
    each by their own statistics of the current batch, so a loss depends on the batch size and is 0 for one image.
    Paper and code disagree, the code is followed: 1e-5 is added to the (biased) variance under the root (the paper's
    appendix agrees, its equation 1 has none); the loss is a batch mean (the paper's equation 2 sums); cross-entropy
    has a weight, and `w` grows linearly to 1 over `warmup` epochs (neither is in the text).

    The code's constant is alpha and its square multiplies the loss: `kd_weight` is that number, 31² = 961 by
    default, 33² = 1089 for ResNet32×4 to ResNet8×4.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 2.0
        kd_weight: Annotated[Weight, Field(description="Weight of the divergence: the square of the code's alpha.")] = (
            961.0
        )
        temperature: Annotated[Temperature, Field(description="Divides both standardized logits (T, tau).")] = 4.0
        warmup: Warmup = 20

    config: Config
    paper = "Hossain et al., TMLR 2025. Equals LumiNet 8cf749b, distillers/Luminet.py."
    revision = 1
    preset = "hossain2025luminet"

    @property
    def needs(self) -> Needs:
        return Needs()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        temperature = self.config.temperature
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "kd": lambda: kl_divergence(
                    perception(student.logits) / temperature, perception(teacher.logits) / temperature
                ),
            }
        )

    def weights(self, epoch: int) -> Mapping[str, float]:
        config = self.config
        return {"ce": config.ce_weight, "kd": warmed_up(config.kd_weight, epoch, config.warmup)}


def perception(logits: Tensor) -> Tensor:
    """Every class standardized over the batch: (B, K) -> (B, K). A class that is constant in the batch becomes 0."""
    logits = in_full(logits)
    variance, mean = logits.var(dim=0, correction=0), logits.mean(dim=0)
    return (logits - mean) / (variance + 1e-5).sqrt()
