"""How two maps of different sizes are brought together. Axes: B batch, C channels, H W pixels."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


def at_the_smaller_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps at the height and width of the lower one, the higher averaged: (B, C, H, W), (B, D, J, L)."""
    if student.shape[2] > teacher.shape[2]:
        return resized(student, teacher.shape[2:]), teacher
    return student, resized(teacher, student.shape[2:]) if student.shape[2] < teacher.shape[2] else teacher


def resized(features: Tensor, size: Sequence[int]) -> Tensor:
    """Averaged (or, to a larger size, repeated) to another height and width: (B, C, H, W) -> (B, C, *size)."""
    (height, width), (rows, columns) = features.shape[2:], size
    if (height, width) == (rows, columns):
        return features
    # whole windows and whole repeats: unlike the adaptive form, the same gradient at every run on a GPU
    if height % rows == 0 and width % columns == 0:
        return F.avg_pool2d(features, (height // rows, width // columns))
    if rows % height == 0 and columns % width == 0:
        return F.interpolate(features, (rows, columns), mode="nearest")
    return F.adaptive_avg_pool2d(features, (rows, columns))


def activated(layer: str, features: Tensor) -> Tensor:
    """What the network passes on from that layer: a `.preact` goes through its ReLU."""
    return F.relu(features) if layer.endswith(".preact") else features


def as_weights(features: Tensor, module: nn.Module) -> Tensor:
    """The features in the module's precision: outside autocast half precision meets full precision weights."""
    return features.to(next(module.parameters()).dtype)
