"""VID: how well the student's features predict the teacher's, as a lower bound of their mutual information."""

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Needs, NetworkView, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Weight
from kdharness.distillers.layers import LayerPairs, Layers, comparing, layer_pairs, require_map
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.maps import at_the_smaller_size
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("vid")
class VID(Distiller):
    """`L = ce_weight CE(s, y) + information_weight sum over stages mean(((m(f_s) - f_t)² / v + log v) / 2)`.

    Ahn et al., CVPR 2019 (arXiv 1904.05835), section 2, without the constant, so it may be negative. m is three
    1x1 convolutions with ReLU between and without bias; v = log(1 + exp(g)) + epsilon, one g per channel of the
    teacher, starts at `variance`. The higher map of a pair is averaged to the lower one's size. The paper and
    RepDistiller train g; mdistiller keeps it in a list that no optimizer sees, so v stays: `train_variances` says
    which, and the default is mdistiller's, whose benchmark numbers are quoted. g is rounded to float32, as there.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        information_weight: Annotated[Weight, Field(description="Weight of the information.")] = 1.0
        variance: Annotated[float, Field(strict=True, ge=0.001, le=1000, description="Of each channel at first.")] = 5.0
        epsilon: Annotated[float, Field(strict=True, gt=0, lt=0.001, description="Lowest variance.")] = 1e-5
        train_variances: Annotated[bool, Field(strict=True, description="The variances learn with the student.")] = (
            False
        )
        layers: Layers = "all"

    config: Config
    paper = (
        "Ahn, Hu, Damianou, Lawrence, Dai, CVPR 2019. Equals mdistiller a08d46f, distillers/VID.py; with "
        "train_variances RepDistiller b84f547 (both with `layers: first`)."
    )
    family = "features"
    revision = 1
    preset = "ahn2019vid"
    pairs: LayerPairs = ()

    @property
    def needs(self) -> Needs:
        return comparing(self.pairs)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """One regressor and one row of variances per pair of layers. Raises IncompatiblePair."""
        self.pairs = layer_pairs("vid", self.config.layers, student, teacher)
        widths = [
            (require_map("vid", "student", student, ours)[0], require_map("vid", "teacher", teacher, theirs)[0])
            for ours, theirs in self.pairs
        ]
        start = math.log(math.expm1(self.config.variance - self.config.epsilon))
        scales = [torch.full((width,), start, dtype=torch.float32) for _, width in widths]
        self.regressors = nn.ModuleList([regressor(*pair) for pair in widths])
        self.log_scales = nn.ParameterList([nn.Parameter(scale, self.config.train_variances) for scale in scales])
        return nn.ModuleDict({"regressors": self.regressors, "log_scales": self.log_scales})

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "information": lambda: self.guidance(student, teacher),
            }
        )

    def guidance(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The term `information`: -> ()."""
        parts = []
        for (ours, theirs), guess, scale in zip(self.pairs, self.regressors, self.log_scales, strict=True):
            one, other = at_the_smaller_size(in_full(student.stages[ours]), in_full(teacher.stages[theirs]))
            variance = (F.softplus(scale) + self.config.epsilon)[:, None, None]
            parts.append(((guess(one.to(scale.dtype)) - other).square() / variance + variance.log()).mean() / 2)
        return torch.stack(parts).sum()

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "information": self.config.information_weight}


def regressor(channels: int, out_channels: int) -> nn.Sequential:
    """The mean of the teacher's features, (B, C, H, W) -> (B, D, H, W); keys as in the released code."""
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 1, bias=False),
    )
