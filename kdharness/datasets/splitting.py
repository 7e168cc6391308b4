"""Cutting a set of labelled images into two parts that are constants of the set."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from kdharness.core.errors import BadInput, SealedSplit
from kdharness.core.streams import draw
from kdharness.core.types import Split


def part_of(
    name: str,
    part: Literal["train", "val", "test"],
    validation: float,
    train: Callable[[], Split],
    test: Callable[[], Split],
) -> Split:
    """What `Dataset.split` promises, for the dataset `name` with these official parts. Raises SealedSplit, BadInput."""
    if part == "val" and not validation:
        raise BadInput(f"{name} has no validation images where `validation` is 0")
    if part == "test":
        if validation:
            raise SealedSplit(f"the test images of {name} are sealed where validation images are held out")
        return test()
    whole = train()
    if not validation:
        return whole
    mask = held_out(whole.labels, validation, "validation")
    chosen = mask if part == "val" else ~mask
    return Split(whole.images[chosen], whole.labels[chosen], whole.index[chosen])


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
        mask[members[rank[members].argsort()[: held_out_count(len(members), fraction)]]] = True
    return mask


def held_out_count(images: int, fraction: float) -> int:
    """How many of a class of so many images are held out."""
    return max(1, round(fraction * images))
