"""Images too many to be resident: random crops that decoders take, and batches decoded ahead of the step."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from operator import length_hint

import torch
from torch import Tensor

from kdharness.core.streams import Draws
from kdharness.training.resampling import crop_boxes

MOST_IDLE = 64
"""Requests for other batches after which nobody is expected to go on with a stream: more than a cohort has members."""


@dataclass(frozen=True)
class RandomCrops:
    """torchvision's RandomResizedCrop and a flip of every second image, by the hash of `Draws`: small, and pickles.

    The boxes need the pictures' sizes, which stand in their files: whoever decodes asks for them.
    """

    stream: str
    seed: int
    epoch: int
    index: tuple[int, ...]
    """(B,): positions in the full official train split."""

    def __call__(self, heights: Tensor, widths: Tensor) -> Tensor:
        """See Crops."""
        draws = Draws(self.stream, self.seed, self.epoch, torch.tensor(self.index))
        return torch.stack([*crop_boxes(draws, heights, widths), draws.bits() % 2], dim=1)


@dataclass
class _Stream:
    """A pass through the images on its way."""

    batches: Iterator[Tensor]
    position: int
    """Of the batch that comes next."""
    last: Tensor = field(default_factory=lambda: torch.empty(0))
    """The one before it."""
    used: int = 0


class Streams:
    """Passes through the images, decoded ahead. Members of a cohort at the same place of the same pass share one."""

    def __init__(self) -> None:
        self._streams: dict[Hashable, list[_Stream]] = {}
        self._requests = 0

    def batch(self, key: Hashable, position: int, begin: Callable[[int], Iterator[Tensor]]) -> Tensor:
        """Batch number `position` (from 0) of the pass `key`; where no stream has come to it, `begin` opens one there.

        `begin` is given how many streams then go on, itself included, to share the processors out. Raises what
        decoding raises.
        """
        self._requests += 1
        stream = self._at(key, position)
        if stream is None:
            self._close_idle()
            others = (other for here in self._streams.values() for other in here)
            goes_on = sum(length_hint(other.batches, 1) > 0 for other in others)
            stream = _Stream(begin(1 + goes_on), position)
            self._streams.setdefault(key, []).append(stream)
        stream.used = self._requests
        if stream.position == position:
            try:
                stream.last = next(stream.batches)
            except BaseException:
                self._streams[key].remove(stream)
                raise
            stream.position += 1
        return stream.last

    def _at(self, key: Hashable, position: int) -> _Stream | None:
        """A stream that has just given this batch, else one that comes to it next."""
        here = self._streams.get(key, [])
        return next((stream for after in (1, 0) for stream in here if stream.position == position + after), None)

    def _close_idle(self) -> None:
        """Those whose members have stopped, or have gone on to another pass."""
        for key, here in list(self._streams.items()):
            self._streams[key] = [stream for stream in here if self._requests - stream.used <= MOST_IDLE]
            if not self._streams[key]:
                del self._streams[key]
