"""FSP: first the student's features flow from stage to stage as the teacher's, then it learns the labels alone."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.errors import IncompatiblePair
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
from kdharness.distillers.layers import LayerPairs, Layers, comparing, feature_modules, layer_pairs, require_map
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.maps import at_the_smaller_size
from kdharness.distillers.phases import InitEpochs, InitRate
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("fsp")
class FSP(Distiller):
    """`L = ce_weight CE(s, y)`, after a phase of `sum over consecutive layers of mean((G_s - G_t)²)`.

    Yim et al., CVPR 2017, section 3. G holds the mean over pixels of the products of every channel of a layer
    with every channel of the next one, the higher map averaged to the lower one's size; the mean is over images and
    entries. Layers are the stem and the stages, whose channels must agree. The phase trains the student's features with
    a fresh optimizer; the code's weight of 50 is never applied, its main epochs have no distillation term.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        init_epochs: InitEpochs = 30
        init_lr: InitRate = 0.05
        layers: Layers = "all"

    config: Config
    paper = "Yim, Joo, Bae, Kim, CVPR 2017. Equals RepDistiller b84f547, distiller_zoo/FSP.py and helper/pretrain.py."
    family = "features"
    revision = 1
    preset = "yim2017fsp"
    pairs: LayerPairs = ()

    @property
    def needs(self) -> Needs:
        return comparing(self.pairs)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """Choose the layers; there are no adapters. Raises IncompatiblePair."""
        self.pairs = layer_pairs("fsp", self.config.layers, student, teacher)
        if self.config.layers in ("all", "first"):
            self.pairs = (("stem", "stem"), *self.pairs)
        for ours, theirs in self.pairs:
            one, other = require_map("fsp", "student", student, ours), require_map("fsp", "teacher", teacher, theirs)
            if one[0] != other[0]:
                raise IncompatiblePair(
                    f"fsp needs equal channels: the student's {ours} is {one}, the teacher's {theirs} {other}"
                )
        if len(self.pairs) < 2:
            raise IncompatiblePair(f"fsp looks at consecutive layers and needs two pairs of them, not {self.pairs}")
        self.student = student
        return nn.Module()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return {"ce": cross_entropy(student.logits, batch.labels)}

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight}

    def phases(self) -> Sequence[Phase]:
        config, trained = self.config, feature_modules(self.student)
        return (Phase("flow", config.init_epochs, trained, config.init_lr, self.flows),) if config.init_epochs else ()

    def flows(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """The phase's loss."""
        ours = [in_full(student.stages[layer]) for layer, _ in self.pairs]
        theirs = [in_full(teacher.stages[layer]) for _, layer in self.pairs]
        steps = zip(ours, ours[1:], theirs, theirs[1:], strict=False)
        return {"flow": torch.stack([F.mse_loss(flow(a, b), flow(c, d)) for a, b, c, d in steps]).sum()}


def flow(features: Tensor, following: Tensor) -> Tensor:
    """Mean over pixels of the products of channels: (B, C, H, W), (B, D, J, L) -> (B, C, D)."""
    one, other = at_the_smaller_size(features, following)
    return one.flatten(2) @ other.flatten(2).mT / (one.shape[2] * one.shape[3])
