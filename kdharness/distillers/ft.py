"""FT: first the teacher's last map is paraphrased into factors, then the student's factors follow them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import (
    Batch,
    BuildContext,
    Distiller,
    DistillerConfig,
    Needs,
    NetworkView,
    Outputs,
    Phase,
)
from kdharness.distillers.constants import CrossEntropyWeight, Weight
from kdharness.distillers.layers import LayerPairs, comparing, last_stage, require_map
from kdharness.distillers.losses import cross_entropy
from kdharness.distillers.maps import as_weights, at_the_smaller_size
from kdharness.distillers.phases import InitEpochs, InitRate
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("ft")
class FT(Distiller):
    """`L = ce_weight CE(s, y) + factor_weight mean |A(translator(f_s)) - A(paraphraser(f_t))|^distance_power`.

    Kim et al., NeurIPS 2018 (arXiv 1802.04977), section 3, on the last stage. A phase trains the paraphraser, an
    autoencoder of the teacher's map through `rate` of its channels, to reconstruct it (mean squared error); then it
    stands still and the translator learns with the student. The paper normalises and compares the factors themselves;
    the code, which is followed, compares their attention maps: A is the L2-normalised channel mean of the
    `attention_power`th power. The larger factor is averaged to the smaller one's size.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        factor_weight: Annotated[Weight, Field(description="Weight of the factors (beta).")] = 200.0
        attention_power: Annotated[int, Field(strict=True, ge=1, le=8, description="Power of the factors (p1).")] = 2
        distance_power: Annotated[int, Field(strict=True, ge=1, le=8, description="Power of the difference (p2).")] = 1
        rate: Annotated[
            float, Field(strict=True, gt=0, le=4, description="Factors per channel of the teacher (k).")
        ] = 0.5
        init_epochs: InitEpochs = 30
        init_lr: InitRate = 0.05

    config: Config
    paper = "Kim, Park, Kwak, NeurIPS 2018. Equals RepDistiller b84f547, distiller_zoo/FT.py and models/util.py."
    family = "features"
    revision = 1
    preset = "kim2018ft"
    pairs: LayerPairs = ()

    @property
    def needs(self) -> Needs:
        return comparing(self.pairs)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """The translator and the paraphraser. Raises IncompatiblePair."""
        ours, theirs = last_stage("ft", "student", student), last_stage("ft", "teacher", teacher)
        self.pairs = ((ours, theirs),)
        channels = require_map("ft", "student", student, ours)[0]
        out_channels = require_map("ft", "teacher", teacher, theirs)[0]
        factors = max(int(out_channels * self.config.rate), 1)
        self.translator = nn.ModuleDict({"encoder": coder((channels, channels, factors, factors), batch_norm=True)})
        self.paraphraser = nn.ModuleDict(
            {
                "encoder": coder((out_channels, out_channels, factors, factors)),
                "decoder": coder((factors, factors, out_channels, out_channels), transposed=True),
            }
        )
        return nn.ModuleDict({"translator": self.translator, "paraphraser": self.paraphraser})

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "factor": lambda: self.guidance(student, teacher),
            }
        )

    def guidance(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The term `factor`: -> ()."""
        ((ours, theirs),) = self.pairs
        own = self.translator["encoder"](as_weights(student.stages[ours], self.translator))
        with torch.no_grad():
            other = self.paraphraser["encoder"](as_weights(teacher.stages[theirs], self.paraphraser))
        one, other = at_the_smaller_size(own, other)
        difference = (self.attention(one) - self.attention(other)).abs().pow(self.config.distance_power)
        return difference.mean()

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "factor": self.config.factor_weight}

    def phases(self) -> Sequence[Phase]:
        config = self.config
        if not config.init_epochs:
            return ()
        trained = (self.paraphraser,)
        return (Phase("paraphraser", config.init_epochs, trained, config.init_lr, self.reconstruction, "eval"),)

    def reconstruction(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """The phase's loss."""
        features = as_weights(teacher.stages[self.pairs[0][1]], self.paraphraser)
        rebuilt = self.paraphraser["decoder"](self.paraphraser["encoder"](features))
        return {"reconstruction": F.mse_loss(rebuilt, features)}

    def attention(self, factors: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, HW), rows of length 1."""
        return F.normalize(factors.pow(self.config.attention_power).mean(1).flatten(1), dim=1)


def coder(widths: Sequence[int], *, batch_norm: bool = False, transposed: bool = False) -> nn.Sequential:
    """Three 3x3 convolutions through these widths, each with leaky ReLU; keys as in the released code."""
    layers: list[nn.Module] = []
    for channels, out_channels in pairwise(widths):
        convolution = nn.ConvTranspose2d if transposed else nn.Conv2d
        layers.append(convolution(channels, out_channels, 3, padding=1))
        layers.append(nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity())
        layers.append(nn.LeakyReLU(0.1))
    return nn.Sequential(*layers)
