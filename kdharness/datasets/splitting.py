"""Cutting a set of labelled images into two parts that are constants of the set."""

import torch
from torch import Tensor

from kdharness.core.streams import draw


def held_out(labels: Tensor, fraction: float, stream: str) -> Tensor:
    """(N,) bool: True for the images held out, `fraction` of every class (rounded, at least one of each class).

    Within a class those with the smallest draw of `stream` go: a function of the position alone, the same for every
    seed, machine and version.
    """
    position = torch.arange(len(labels))
    rank = draw(stream, 0, 0, position)
    mask = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(int(labels.max()) + 1):
        members = position[labels == label]
        count = max(1, round(fraction * len(members)))
        mask[members[rank[members].argsort()[:count]]] = True
    return mask
