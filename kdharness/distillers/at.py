"""AT: the student looks where the teacher looks."""

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


@DISTILLERS.add("at")
class AT(Distiller):
    """`L = ce_weight CE(s, y) + attention_weight sum over stages mean((A(f_s) - A(f_t))²)`.

    Zagoruyko and Komodakis, ICLR 2017 (arXiv 1612.03928), equation 2. A is the mean over channels of the `exponent`th
    power, flattened and L2-normalised; the higher map of a pair is averaged to the lower one's size before. The paper
    writes half of beta times a norm of the difference; the code takes the mean of the squares over images and
    pixels, so a smaller map counts more: followed. Exponent 1 is a signed mean. An all-zero map of the student stays.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        attention_weight: Annotated[Weight, Field(description="Weight of the attention (beta).")] = 1000.0
        exponent: Annotated[
            int, Field(strict=True, ge=1, le=8, description="Power of the features that makes the attention (p).")
        ] = 2
        layers: Layers = "all"

    config: Config
    paper = (
        "Zagoruyko, Komodakis, ICLR 2017. Equals mdistiller a08d46f, distillers/AT.py, and RepDistiller b84f547 (both "
        "with `layers: first`)."
    )
    family = "features"
    revision = 1
    preset = "zagoruyko2017at"
    pairs: LayerPairs = ()

    @property
    def needs(self) -> Needs:
        return comparing(self.pairs)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """Choose the layers; there are no adapters. Raises IncompatiblePair."""
        self.pairs = layer_pairs("at", self.config.layers, student, teacher)
        return nn.Module()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "attention": lambda: self.guidance(student, teacher),
            }
        )

    def guidance(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The term `attention`: -> ()."""
        attention = student.logits.new_zeros((), dtype=in_full(student.logits).dtype)
        for ours, theirs in self.pairs:
            one, other = at_the_smaller_size(in_full(student.stages[ours]), in_full(teacher.stages[theirs]))
            attention = attention + F.mse_loss(self.attention(one), self.attention(other))
        return attention

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "attention": self.config.attention_weight}

    def attention(self, features: Tensor) -> Tensor:
        """Where the features are strong: (B, C, H, W) -> (B, HW), rows of length 1."""
        return F.normalize(features.pow(self.config.exponent).mean(1).flatten(1), dim=1)
