"""AB: first the student learns which of the teacher's neurons are active, then the labels alone."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

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
from kdharness.distillers.constants import CrossEntropyWeight
from kdharness.distillers.fitnet import Regressor
from kdharness.distillers.layers import LayerPairs, Layers, comparing, feature_modules, layer_pairs
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.phases import InitEpochs, InitRate
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("ab")
class AB(Distiller):
    """`L = ce_weight CE(s, y)`, after a phase of `0.003 / B sum over stages i of 2^(i - n) sum d(c(f_s), f_t)`.

    Heo et al., AAAI 2019 (arXiv 1811.03233), section 3, on the features before a stage's last ReLU: d is
    (c + margin)² where the teacher's neuron is silent and the student's above -margin, (c - margin)² where it is active
    and the student's not above margin, else 0. c brings the student's map to the teacher's shape (a convolution with
    batch norm) and is left out where the shapes agree in channels and height. The phase trains the student's features
    and the connectors with a fresh optimizer. 0.003 / B, the sum and the powers of two are the code's; its main epochs,
    unlike the paper's, have no distillation term.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        margin: Annotated[float, Field(strict=True, gt=0, le=100, description="Distance kept from 0.")] = 1.0
        init_epochs: InitEpochs = 30
        init_lr: InitRate = 0.05
        layers: Layers = "all"

    config: Config
    paper = "Heo, Lee, Yun, Choi, AAAI 2019. Equals RepDistiller b84f547, distiller_zoo/AB.py and helper/pretrain.py."
    family = "features"
    revision = 1
    preset = "heo2019ab"
    pairs: LayerPairs = ()

    @property
    def needs(self) -> Needs:
        return comparing(self.pairs)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """A connector per pair of layers. Raises IncompatiblePair."""
        form = ".preact"
        self.pairs = layer_pairs("ab", self.config.layers, student, teacher, student_form=form, teacher_form=form)
        self.connectors = nn.ModuleList()
        for ours, theirs in self.pairs:
            one, other = student.shapes[ours], teacher.shapes[theirs]
            same = one[:2] == other[:2]
            self.connectors.append(
                nn.Identity() if same else Regressor(ours, one, other, method="ab", activation=False)
            )
        self.student = student
        return nn.ModuleDict({"connectors": self.connectors})

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return {"ce": cross_entropy(student.logits, batch.labels)}

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight}

    def phases(self) -> Sequence[Phase]:
        config, trained = self.config, [*feature_modules(self.student), self.connectors]
        return (
            (Phase("boundaries", config.init_epochs, trained, config.init_lr, self.boundaries),)
            if config.init_epochs
            else ()
        )

    def boundaries(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """The phase's loss."""
        parts, margin = [], self.config.margin
        for number, ((ours, theirs), connector) in enumerate(zip(self.pairs, self.connectors, strict=True)):
            one, other = connector(in_full(student.stages[ours])), in_full(teacher.stages[theirs])
            silent = torch.where(one > -margin, (one + margin).square(), 0.0)
            active = torch.where(one <= margin, (one - margin).square(), 0.0)
            parts.append(torch.where(other <= 0, silent, active).sum() * 0.5 ** (len(self.pairs) - 1 - number))
        return {"boundary": torch.stack(parts).sum() * 3 / 1000 / len(batch.labels)}
