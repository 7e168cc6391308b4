"""What a step is fed: a batch from outside, the teacher's answer to it, and the precision both are computed in."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kdharness.core.records import Precision
from kdharness.core.types import Model, Outputs


@dataclass(frozen=True)
class Inputs:
    """One batch, ready for the networks."""

    images: Tensor
    """(B, C, H, W), normalised, in the precision's dtype."""
    labels: Tensor
    """(B,) int64"""
    index: Tensor
    """(B,) int64: position in the full official train split."""
    second_view: Tensor | None = None
    """(B, C, H, W): other views of the same images."""

    def through(self, network: Callable[[Tensor], Outputs]) -> Outputs:
        """The outputs for the images, then those for the second view in `second`: two forwards in this order."""
        outputs = network(self.images)
        return outputs if self.second_view is None else replace(outputs, second=network(self.second_view))


def dtype_of(precision: Precision) -> torch.dtype:
    """What weights, images and losses are held in; bf16 stands for the forward passes alone."""
    return torch.float64 if precision == "fp64" else torch.float32


def set_products(precision: Precision, device: torch.device) -> None:
    """From now on a GPU multiplies float32 as tf32 or as IEEE asks; a CPU knows only the latter."""
    if device.type == "cuda":
        products = "tf32" if precision == "tf32" else "ieee"
        torch.backends.cuda.matmul.fp32_precision = products
        torch.backends.cudnn.conv.fp32_precision = products  # type: ignore[attr-defined]  # torch does not declare it


def shrunk(images: Tensor, image_size: int | None) -> Tensor:
    """The images as a teacher of that size sees them: bilinear, without antialiasing, as tiny-transformers does it."""
    if image_size is None or images.shape[2:] == (image_size, image_size):
        return images
    smaller = F.interpolate(images, (image_size, image_size), mode="bilinear", align_corners=False)
    return smaller.contiguous(memory_format=layout_of(images))


def forward(model: Model, images: Tensor, precision: Precision, stages: Sequence[str] | None = None) -> Outputs:
    """The network's outputs, of its stages only those named (None: all of them).

    Under bf16 they are computed by autocast and handed on as float32: stages that nobody reads would cost as much
    memory again.
    """
    with torch.autocast(images.device.type, torch.bfloat16) if precision == "bf16" else nullcontext():
        outputs: Outputs = model(images)
    if stages is not None:
        outputs = outputs.only(stages)
    return outputs.each(Tensor.float) if precision == "bf16" else outputs


def of_next_image(outputs: Outputs) -> Outputs:
    """Every image answered for by the next one of the batch, the last by the first: a teacher that knows nothing."""
    return outputs.each(lambda value: value.roll(-1, 0))


def layout_of(images: Tensor) -> torch.memory_format:
    """channels_last or contiguous, whichever the images are stored in."""
    return torch.contiguous_format if images.is_contiguous() else torch.channels_last
