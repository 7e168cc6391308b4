"""Named random streams: a number that depends on what it is for and on nothing else.

A draw is an integer hash of its coordinates (seed, epoch, index, ...), never a position in a shared generator, so
that a run's numbers do not depend on its neighbours, its order of work or its interruptions.
"""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

_MULTIPLIER_1 = 0xBF58476D1CE4E5B9 - (1 << 64)  # as a signed 64-bit integer
_MULTIPLIER_2 = 0x94D049BB133111EB - (1 << 64)
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)


def stream_seed(*coordinates: str | int) -> int:
    """A seed in [0, 2**63) for a named stream, e.g. `stream_seed("student", seed)`."""
    digest = hashlib.sha256(repr(coordinates).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def mix(values: Tensor) -> Tensor:
    """SplitMix64's finalizer on int64, elementwise: the same bits on a CPU and a GPU (Steele et al. 2014)."""
    z = values + _GOLDEN
    z = (z ^ _shift(z, 30)) * _MULTIPLIER_1
    z = (z ^ _shift(z, 27)) * _MULTIPLIER_2
    return z ^ _shift(z, 31)


def draw(stream: str, seed: int, epoch: int, index: Tensor) -> Tensor:
    """One int64 in [0, 2**63) per image: `index` (N,) -> (N,), a function of (stream, seed, epoch, index)."""
    key = stream_seed(stream, seed, epoch)
    return mix(mix(index.to(torch.int64)) ^ key) & 0x7FFFFFFFFFFFFFFF


@dataclass(frozen=True)
class Draws:
    """What is drawn for a batch of images: under each name one number per image, of its image's coordinates alone."""

    stream: str
    seed: int
    epoch: int
    index: Tensor
    """(B,) int64: position in the full official train split."""

    def bits(self, name: str = "") -> Tensor:
        """(B,) int64 in [0, 2**63); without a name `draw` of the stream itself."""
        return draw(f"{self.stream} {name}".rstrip(), self.seed, self.epoch, self.index)

    def integers(self, name: str, count: int) -> Tensor:
        """(B,) int64 in [0, count)."""
        return self.bits(name) % count

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B,) float64 in [low, high), of 53 random bits."""
        return low + (high - low) * ((self.bits(name) >> 10).double() * 2.0**-53)

    def normal(self, name: str) -> Tensor:
        """(B,) float64 of the standard normal distribution (Box and Muller 1958)."""
        radius = (-2 * torch.log1p(-self.uniform(f"{name} radius"))).sqrt()
        return radius * torch.cos(2 * math.pi * self.uniform(f"{name} angle"))


def permutation(seed: int, epoch: int, index: Tensor) -> Tensor:
    """The order of an epoch: positions into `index` (N,) sorted by their draw of the stream `order`."""
    return torch.argsort(draw("order", seed, epoch, index), stable=True)


@contextmanager
def seeded(*coordinates: str | int) -> Iterator[None]:
    """Torch's own initialisers draw from the named stream inside; the global generators are as before after."""
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(*coordinates))
        yield


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical shift right: torch's own keeps the sign of an int64."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
