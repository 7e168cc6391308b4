"""ReviewKD: the student's deep features are fused into its shallow ones on the way to each of the teacher's stages."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Needs, NetworkView, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Warmup, Weight
from kdharness.distillers.layers import LayerPairs, Layers, comparing, layer_pairs
from kdharness.distillers.losses import cross_entropy, in_full, warmed_up
from kdharness.distillers.maps import as_weights, resized
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("reviewkd")
class ReviewKD(Distiller):
    """`L = ce_weight CE(s, y) + w(epoch) review_weight sum over stages HCL(A(f_s, deeper), f_t)`.

    Chen et al., CVPR 2021 (arXiv 2104.09044), section 3. From the deepest (the pooled features, a map of one pixel) to
    the shallowest stage, an attention based fusion A mixes the student's stage with what came up from below and hands
    the mixture on; the targets are the teacher's stages before their ReLU. HCL is the mean squared difference at full
    size and, averaged to 4, 2 and 1 pixels a side (those smaller than the map), with weights 1/2, 1/4, 1/8 in order
    of use, over the sum of the weights. `w` grows linearly to 1 over `warmup` epochs, from 1/20 as in mdistiller (the
    authors' loop starts at 0; it also leaves the teacher in train mode on CIFAR: mdistiller's eval mode is followed).

    The mid width is the student's pooled width, at most `mid_channels`; mdistiller ignores that setting and takes
    512, the authors 256 for MobileNetV1.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        review_weight: Annotated[Weight, Field(description="Weight of the reviewed features.")] = 1.0
        warmup: Warmup = 20
        mid_channels: Annotated[int, Field(strict=True, ge=1, le=65536, description="Highest mid width.")] = 512
        student_preact: Annotated[
            bool, Field(strict=True, description="Takes the student's stages before their ReLU.")
        ] = False
        layers: Layers = "all"

    config: Config
    paper = (
        "Chen, Liu, Zhao, Jia, CVPR 2021. Equals mdistiller a08d46f, distillers/ReviewKD.py, and in its loss the "
        "authors' ReviewKD cede6ea."
    )
    family = "features"
    revision = 1
    preset = "chen2021reviewkd"
    pairs: LayerPairs = ()

    @property
    def needs(self) -> Needs:
        return replace(comparing(self.pairs), teacher_pooled=True)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """The fusions, deepest first as in the released checkpoints. Raises IncompatiblePair."""
        self.pairs = layer_pairs(
            "reviewkd",
            self.config.layers,
            student,
            teacher,
            student_form=".preact" if self.config.student_preact else "",
            teacher_form=".preact",
        )
        (width,), (teacher_width,) = student.shapes["pooled"], teacher.shapes["pooled"]
        mid = min(self.config.mid_channels, width)
        fusions = [Fusion(student.shapes[ours], mid, teacher.shapes[theirs], fuse=True) for ours, theirs in self.pairs]
        fusions.append(Fusion((width, 1, 1), mid, (teacher_width, 1, 1), fuse=False))
        self.fusions = nn.ModuleList(fusions[::-1])
        return self.fusions

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "review": lambda: self.guidance(student, teacher),
            }
        )

    def guidance(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The term `review`: -> ()."""
        ours = [student.stages[layer] for layer, _ in self.pairs] + [student.pooled[:, :, None, None]]
        theirs = [teacher.stages[layer] for _, layer in self.pairs] + [teacher.pooled[:, :, None, None]]
        reviewed, mixture = [], None
        for features, fusion in zip(reversed(ours), self.fusions, strict=True):
            output, mixture = fusion(features, mixture)
            reviewed.append(output)
        return hierarchical_context(reviewed, [in_full(features) for features in reversed(theirs)])

    def weights(self, epoch: int) -> Mapping[str, float]:
        config = self.config
        return {"ce": config.ce_weight, "review": warmed_up(config.review_weight, epoch, config.warmup)}


def hierarchical_context(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """HCL of every map, summed: pairs of (B, C, H, W) -> ()."""
    parts = []
    for one, other in zip(student, teacher, strict=True):
        loss, weight, total = F.mse_loss(one, other), 1.0, 1.0
        for size in (4, 2, 1):
            if size < one.shape[2]:
                weight /= 2
                total += weight
                loss = loss + weight * F.mse_loss(resized(one, (size, size)), resized(other, (size, size)))
        parts.append(loss / total)
    return torch.stack(parts).sum()


class Fusion(nn.Module):
    """A stage of the student, mixed with what came up from below: keys as in the released code.

    (B, C, H, W), mixture of the deeper stages or None -> (B, D, J, L) for the teacher's stage, mixture (B, mid, J, L).
    """

    def __init__(self, shape: tuple[int, ...], mid: int, out_shape: tuple[int, ...], *, fuse: bool) -> None:
        super().__init__()
        self.size, self.out_size = shape[1:], out_shape[1:]
        self.conv1 = nn.Sequential(nn.Conv2d(shape[0], mid, 1, bias=False), BatchNorm(mid))
        self.conv2 = nn.Sequential(nn.Conv2d(mid, out_shape[0], 3, padding=1, bias=False), BatchNorm(out_shape[0]))
        self.att_conv = nn.Sequential(nn.Conv2d(2 * mid, 2, 1), nn.Sigmoid()) if fuse else None
        for convolution in (*self.conv1, *self.conv2):
            if isinstance(convolution, nn.Conv2d):
                nn.init.kaiming_uniform_(convolution.weight, a=1)

    def forward(self, features: Tensor, deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        mixture = self.conv1(as_weights(features, self))
        if self.att_conv is not None and deeper is not None:
            deeper = F.interpolate(deeper, self.size, mode="nearest")
            own, other = self.att_conv(torch.cat((mixture, deeper), dim=1)).split(1, dim=1)
            mixture = mixture * own + deeper * other
        if mixture.shape[2:] != self.out_size:
            mixture = F.interpolate(mixture, self.out_size, mode="nearest")
        return self.conv2(mixture), mixture


class BatchNorm(nn.BatchNorm2d):
    """Uses its running statistics where one image's one pixel has none of its own."""

    def forward(self, features: Tensor) -> Tensor:
        if self.training and features.numel() == features.shape[1]:
            return F.batch_norm(features, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(features)
