"""NST: the student's channels, as patterns over the image, are distributed as the teacher's."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Needs, NetworkView, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Weight
from kdharness.distillers.layers import LayerPairs, Layers, comparing, layer_pairs
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.maps import at_the_smaller_size
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("nst")
class NST(Distiller):
    """`L = ce_weight CE(s, y) + mmd_weight sum over stages [mean k(t, t) + mean k(s, s) - 2 mean k(s, t)]`.

    Huang and Wang, 2017 (arXiv 1707.01219), section 4, with the polynomial kernel: k is the squared inner product
    of two channels, each L2-normalised over the pixels (degree 2, no constant, as the paper chooses); the means are
    over images and pairs of channels. The higher map of a pair is averaged to the lower one's size.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        mmd_weight: Annotated[Weight, Field(description="Weight of the discrepancy (beta).")] = 50.0
        layers: Layers = "all"

    config: Config
    paper = (
        "Huang, Wang, arXiv 2017. Equals mdistiller a08d46f, distillers/NST.py, and RepDistiller b84f547 (both with "
        "`layers: first`)."
    )
    family = "features"
    revision = 1
    preset = "huang2017nst"
    pairs: LayerPairs = ()

    @property
    def needs(self) -> Needs:
        return comparing(self.pairs)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """Choose the layers; there are no adapters. Raises IncompatiblePair."""
        self.pairs = layer_pairs("nst", self.config.layers, student, teacher)
        return nn.Module()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {"ce": lambda: cross_entropy(student.logits, batch.labels), "mmd": lambda: self.guidance(student, teacher)}
        )

    def guidance(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The term `mmd`: -> ()."""
        mmd = student.logits.new_zeros((), dtype=in_full(student.logits).dtype)
        for ours, theirs in self.pairs:
            one, other = at_the_smaller_size(in_full(student.stages[ours]), in_full(teacher.stages[theirs]))
            one, other = patterns(one), patterns(other)
            mmd = mmd + kernel(other, other) + kernel(one, one) - 2 * kernel(one, other)
        return mmd

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "mmd": self.config.mmd_weight}


def patterns(features: Tensor) -> Tensor:
    """Every channel as a direction over the pixels: (B, C, H, W) -> (B, C, HW)."""
    return F.normalize(features.flatten(2), dim=2)


def kernel(one: Tensor, other: Tensor) -> Tensor:
    """Mean over images and pairs of channels of the squared inner product: (B, C, P), (B, D, P) -> ()."""
    return (one @ other.mT).square().mean()
