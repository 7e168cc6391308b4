"""How two maps of different sizes are brought together. Axes: B batch, C channels, H W pixels."""

from torch import Tensor
from torch.nn import functional as F


def at_the_smaller_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps at the height and width of the lower one, the higher averaged: (B, C, H, W), (B, D, J, L)."""
    if student.shape[2] > teacher.shape[2]:
        return resized(student, teacher), teacher
    return student, resized(teacher, student) if student.shape[2] < teacher.shape[2] else teacher


def resized(features: Tensor, like: Tensor) -> Tensor:
    """Averaged (or, to a larger size, repeated) to the other map's height and width: (B, C, H, W) -> (B, C, J, L)."""
    return F.adaptive_avg_pool2d(features, (like.shape[2], like.shape[3]))
