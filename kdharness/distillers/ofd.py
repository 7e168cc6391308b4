"""OFD: a student's features before the ReLU follow the teacher's, as far as they matter behind it."""

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from kdharness.core.errors import IncompatiblePair
from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Needs, NetworkView, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Weight
from kdharness.distillers.layers import LayerPairs, Layers, comparing, layer_pairs
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.maps import as_weights, resized
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("ofd")
class OFD(Distiller):
    """`L = ce_weight CE(s, y) + overhaul_weight sum over stages i of 2^(i - n) sum_CHW mean_B d(c(f_s), f_t)`.

    Heo et al., ICCV 2019 (arXiv 1904.01866), section 3, on the features before a stage's last ReLU. c is a
    convolution without bias and a batch norm, to the teacher's channels. d is the squared difference to the target
    max(f_t, m), and 0 where f_t is not positive and c(f_s) is at or below the target. m, per channel, is the mean of
    the negative part under the teacher's batch norm (or -3 |gamma| where that part has less than 0.001 of the mass).
    The teacher's map is brought to the student's size.

    The teacher runs in train mode, on batch statistics, as both released codes have it. Weight 0.001, the sum over
    channels and pixels and the powers of two are theirs. Margins are rounded to float32, as there. mdistiller
    takes the last stages of the longer list but margins from its front; here each stage has its own margin.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        overhaul_weight: Annotated[Weight, Field(description="Weight of the features.")] = 0.001
        kernel: Annotated[int, Field(strict=True, ge=1, le=7, description="Size of the connectors' convolution.")] = 1
        layers: Layers = "all"

    config: Config
    paper = (
        "Heo, Kim, Yun, Park, Kwak, Choi, ICCV 2019. Equals mdistiller a08d46f, distillers/OFD.py, and the authors' "
        "overhaul-distillation 76344a8."
    )
    family = "features"
    revision = 1
    preset = "heo2019ofd"
    pairs: LayerPairs = ()

    @property
    def needs(self) -> Needs:
        needs = comparing(self.pairs)
        return Needs(stages=needs.stages, teacher_stages=needs.teacher_stages, teacher_mode="train")

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """A connector and the teacher's margins per pair of layers. Raises IncompatiblePair."""
        form = ".preact"
        self.pairs = layer_pairs("ofd", self.config.layers, student, teacher, student_form=form, teacher_form=form)
        self.adapters = nn.Module()
        self.connectors = nn.ModuleList()
        for number, (ours, theirs) in enumerate(self.pairs):
            norm = teacher.batch_norms.get(theirs.removesuffix(form))
            if norm is None:
                raise IncompatiblePair(
                    f"ofd needs the batch norm before the ReLU of the teacher's {theirs}, which it does not show; it "
                    f"does for {', '.join(teacher.batch_norms) or 'no stage'}"
                )
            channels, out_channels = student.shapes[ours][0], teacher.shapes[theirs][0]
            self.connectors.append(connector(channels, out_channels, self.config.kernel))
            self.adapters.register_buffer(f"margin{number}", margins(norm))
        self.adapters.add_module("connectors", self.connectors)
        return self.adapters

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "overhaul": lambda: self.guidance(student, teacher),
            }
        )

    def guidance(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The term `overhaul`: -> ()."""
        parts = []
        for number, ((ours, theirs), connect) in enumerate(zip(self.pairs, self.connectors, strict=True)):
            one = connect(as_weights(student.stages[ours], connect))
            other = resized(in_full(teacher.stages[theirs]), one.shape[2:])
            margin = self.adapters.get_buffer(f"margin{number}")[:, None, None]
            share = 0.5 ** (len(self.pairs) - 1 - number)
            parts.append(share * partial_distance(one, other, margin).mean(0).sum())
        return torch.stack(parts).sum()

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "overhaul": self.config.overhaul_weight}


def partial_distance(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """Squared, entry by entry; 0 where the target is at or below 0 and the student no larger: same shape."""
    target = torch.maximum(teacher, margin)
    return torch.where((teacher <= 0) & (student <= target), 0.0, (student - target).square())


def margins(norm: nn.BatchNorm2d) -> Tensor:
    """The mean of what is negative of a normal variable of mean beta and deviation |gamma|: -> (C,) float32."""
    mean, deviation = norm.bias.detach().double(), norm.weight.detach().double().abs().clamp(min=1e-12)
    below = torch.special.ndtr(-mean / deviation)
    density = torch.exp(-((mean / deviation) ** 2) / 2) / math.sqrt(2 * math.pi)
    return torch.where(below > 0.001, mean - deviation * density / below, -3 * deviation).float()


def connector(channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    """(B, C, H, W) -> (B, D, H, W) in the initialisation of the released code, whose keys it has."""
    convolution = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2, bias=False)
    nn.init.normal_(convolution.weight, 0, math.sqrt(2 / (kernel * kernel * out_channels)))
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))
