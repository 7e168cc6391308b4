"""Accuracy and cross-entropy of a predictor on a split."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kdharness.core.types import ImageSource, Normalization, Split
from kdharness.datasets.decoding import Decoded, workers_here
from kdharness.evaluation.pixels import normalised

EVALUATION_BATCH = 256
"""Images in one forward: a constant, so that a result does not depend on who evaluates."""


@dataclass(frozen=True)
class Accuracy:
    """What a predictor scores on a split."""

    top1: float
    """Percent."""
    top5: float
    """Percent; with fewer than 5 classes, of all of them."""
    loss: float
    """Mean cross-entropy of the raw logits."""
    predicted: Tensor
    """(N,) int64, in the split's order, on the CPU."""
    confidence: Tensor
    """(N,) float16: the softmax of the predicted class, on the CPU."""


@torch.no_grad()
def evaluate(
    predict: Callable[[Tensor], Tensor],
    split: Split,
    normalization: Normalization,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    layout: torch.memory_format = torch.channels_last,
) -> Accuracy:
    """Score `predict`: images (B, C, H, W) -> logits (B, K). The caller has put its networks into eval mode.

    Images go in as they are, without augmentation, in tiles of a fixed size.
    """
    answers = [predict(images) for images in tiles(split, normalization, device=device, dtype=dtype, layout=layout)]
    return score(torch.cat(answers), split.labels.to(device))


def score(logits: Tensor, labels: Tensor) -> Accuracy:
    """Of the logits (N, K) of all images against their labels (N,)."""
    confidence, predicted = logits.softmax(1).max(1)
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits, hits5 = (predicted == labels).sum(), (best == labels[:, None]).sum()
    scores = torch.stack([hits.double(), hits5.double(), F.cross_entropy(logits, labels).double()])
    right, right5, loss = scores.tolist()  # the one moment at which the device is waited for
    top1, top5 = 100 * right / len(labels), 100 * right5 / len(labels)  # equal counts are equal to the last bit
    return Accuracy(top1, top5, loss, predicted.cpu(), confidence.to(torch.float16).cpu())


def tiles(
    split: Split,
    normalization: Normalization,
    *,
    device: torch.device,
    dtype: torch.dtype,
    layout: torch.memory_format,
    rows: int | None = None,
) -> Iterator[Tensor]:
    """All images in order as networks are fed them: (rows, C, H, W) each, the last one shorter."""
    for pixels in _pixels(split.images, rows or EVALUATION_BATCH):
        images = normalised(pixels.to(device).permute(0, 2, 3, 1), normalization, dtype)
        yield images.contiguous(memory_format=layout)


def _pixels(images: Tensor | ImageSource, rows: int) -> Iterable[Tensor]:
    """All images in order, `rows` at a time: (B, C, H, W) uint8."""
    if isinstance(images, Tensor):
        return torch.split(images, rows)
    return Decoded(images, torch.arange(len(images)), rows, workers=workers_here())
