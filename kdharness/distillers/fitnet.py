"""FitNet: a regressor over the student's middle layer hits the teacher's (hint)."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.errors import IncompatiblePair
from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Needs, NetworkView, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Weight
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("fitnet")
class FitNet(Distiller):
    """`L = ce_weight CE(s, y) + hint_weight mean((regressor(f_s) - f_t)²)`, the mean over batch, channels and pixels.

    Romero et al., ICLR 2015 (arXiv 1412.6550), equation 3. The paper trains the hint first and distils (KD) after;
    the benchmark codes train both terms jointly in one stage and without a KD term: they are followed, every
    published benchmark number of FitNet is theirs. Default layer: index 2 of their feature lists, `stage2`.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        hint_weight: Annotated[Weight, Field(description="Weight of the hint.")] = 100.0
        layer: Annotated[
            str, Field(pattern=r"^(stem|stage[1-9])$", description="The layer compared, of both networks.")
        ] = "stage2"

    config: Config
    paper = (
        "Romero, Ballas, Kahou, Chassang, Gatta, Bengio, ICLR 2015. Equals mdistiller a08d46f, distillers/FitNet.py."
    )
    family = "features"
    revision = 1
    preset = "romero2015fitnets"

    @property
    def needs(self) -> Needs:
        return Needs(stages=(self.config.layer,), teacher_stages=(self.config.layer,))

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """The regressor from the student's layer to the teacher's shape. Raises IncompatiblePair."""
        layer = self.config.layer
        for network, view in (("student", student), ("teacher", teacher)):
            if len(view.shapes.get(layer, ())) != 3:
                raise IncompatiblePair(
                    f"fitnet compares {layer!r}, which the {network} lacks; it has {', '.join(view.shapes)}",
                    remedy="name a layer that both have: `layer: stage1`",
                )
        self.regressor = Regressor(layer, student.shapes[layer], teacher.shapes[layer])
        return self.regressor

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {"ce": lambda: cross_entropy(student.logits, batch.labels), "hint": lambda: self.guidance(student, teacher)}
        )

    def guidance(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The term `hint`: -> ()."""
        layer = self.config.layer
        guess = self.regressor(student.stages[layer])
        return F.mse_loss(in_full(guess), in_full(teacher.stages[layer]))

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "hint": self.config.hint_weight}


class Regressor(nn.Module):
    """Convolution, batch norm and, unless told otherwise, ReLU from the student's (C, H, W) to the teacher's.

    Keys as in the released code. The convolution is chosen by height: halving (3x3, stride 2), doubling (transposed
    4x4, stride 2) or, from the same or a larger map, the valid one whose output fits (1x1 where they are equal).
    """

    def __init__(
        self,
        layer: str,
        student: tuple[int, ...],
        teacher: tuple[int, ...],
        *,
        method: str = "fitnet",
        activation: bool = True,
    ) -> None:
        super().__init__()
        self.activation = activation
        channels, height, width = student
        out_channels, out_height, out_width = teacher
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if height == 2 * out_height:
            self.conv = nn.Conv2d(channels, out_channels, 3, stride=2, padding=1)
        elif 2 * height == out_height:
            self.conv = nn.ConvTranspose2d(channels, out_channels, 4, stride=2, padding=1)
        elif height >= out_height and width >= out_width:
            self.conv = nn.Conv2d(channels, out_channels, (1 + height - out_height, 1 + width - out_width))
        else:
            raise IncompatiblePair(
                f"{method} cannot bring the student's {layer} {student} to the teacher's {teacher}",
                remedy="name a layer where the student's map is at least half as high",
            )
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        # outside autocast half precision features meet full precision weights
        normalized: Tensor = self.bn(self.conv(features.to(self.conv.weight.dtype)))
        return F.relu(normalized) if self.activation else normalized
