"""SimKD: the student's last map, projected, is read by the teacher's own classifier."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Needs, NetworkView, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Temperature, Weight
from kdharness.distillers.layers import LayerPairs, comparing, last_map, pooled_map
from kdharness.distillers.losses import cross_entropy, in_full, softened_kl
from kdharness.distillers.maps import activated, as_weights, resized
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("simkd")
class SimKD(Distiller):
    """`L = map_weight mean((P(f_s) - f_t)²) + ce_weight CE(s, y) + kd_weight T² KL(softmax(t/T) || softmax(s/T))`.

    Chen et al., CVPR 2022 (arXiv 2203.14001), section 3. f are the last maps after their ReLU (the student's of its
    last stage, the teacher's what its classifier reads, a `head` included); P is three convolutions
    (1x1, 3x3, 1x1, without bias, each with batch norm and ReLU) through the teacher's channels over `factor`. Training
    trains P and the student's body alone; the student answers by the teacher's classifier on its averaged P(f_s). The
    student's own classifier has no loss (weight 0, so its gradient is 0 and it decays, as in the code). A higher map of
    the student is averaged to the teacher's size before P, otherwise the teacher's is brought to the student's.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 0.0
        kd_weight: Annotated[Weight, Field(description="Weight of the divergence of the student's own logits.")] = 0.0
        map_weight: Annotated[Weight, Field(description="Weight of the projected map.")] = 1.0
        temperature: Annotated[Temperature, Field(description="Divides both logits in the divergence (T).")] = 4.0
        factor: Annotated[
            int, Field(strict=True, ge=1, le=64, description="The teacher's channels over it are the projector's.")
        ] = 2

    config: Config
    paper = "Chen, Mei, Zhang, Wang, Feng, Chen, CVPR 2022. Equals SimKD 2b389c3, models/util.py and helper/loops.py."
    family = "features"
    revision = 1
    preset = "chen2022simkd"
    pairs: LayerPairs = ()

    @property
    def needs(self) -> Needs:
        return comparing(self.pairs)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """The projector. Raises IncompatiblePair where the teacher's classifier does not read its last map."""
        ours, theirs = last_map("simkd", "student", student), pooled_map("simkd", "teacher", teacher)
        self.pairs = ((ours, theirs),)
        self.teacher = teacher
        self.projector = Projector(student.shapes[ours][0], teacher.shapes[theirs][0], self.config.factor)
        return self.projector

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        ours, theirs = self.maps(student, teacher)
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "kd": lambda: softened_kl(student.logits, teacher.logits, self.config.temperature),
                "map": lambda: F.mse_loss(self.projector(ours), theirs),
            }
        )

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "kd": self.config.kd_weight, "map": self.config.map_weight}

    def predict(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The teacher's classifier on the student's projected and averaged map."""
        logits: Tensor = self.teacher.classifier(self.projector(self.maps(student, teacher)[0]).mean((2, 3)))
        return logits

    def maps(self, student: Outputs, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """Both last maps at one size: (B, C, H, W), (B, D, H, W)."""
        ((ours, theirs),) = self.pairs
        one = activated(ours, in_full(student.stages[ours]))
        other = activated(theirs, in_full(teacher.stages[theirs]))
        if one.shape[2] > other.shape[2]:
            return resized(one, other.shape[2:]), other
        return one, resized(other, one.shape[2:])


class Projector(nn.Module):
    """(B, C, H, W) -> (B, D, H, W); keys as in the released code."""

    def __init__(self, channels: int, out_channels: int, factor: int) -> None:
        super().__init__()
        inner = max(out_channels // factor, 1)
        self.transfer = nn.Sequential(
            *(nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()),
            *(nn.Conv2d(inner, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()),
            *(nn.Conv2d(inner, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()),
        )

    def forward(self, features: Tensor) -> Tensor:
        projected: Tensor = self.transfer(as_weights(features, self))
        return projected
