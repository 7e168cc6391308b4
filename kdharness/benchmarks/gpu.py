"""What a step asks of a GPU, counted by torch's profiler: launches, waits of the host, copies back."""

from collections.abc import Iterable, Mapping
from typing import Any

KINDS: Mapping[str, tuple[str, ...]] = {
    "launches": ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx"),
    "graph launches": ("cudaGraphLaunch",),
    "waits of the host": ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"),
    "copies to the host": ("Memcpy DtoH",),
}
"""What is counted -> the profiler's names for it."""


class Counting:
    """Stands for a side's turn: the profiler looks on during one round."""

    def __init__(self, first: int) -> None:
        """The one after `first` rounds."""
        from torch.profiler import ProfilerActivity, profile

        self._profiler = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
        self._first = first
        self._rounds = 0

    def next_round(self) -> bool:
        self._rounds += 1
        if self._rounds == self._first:
            self._profiler.start()
        elif self._rounds == self._first + 1:
            self._profiler.stop()
        return True

    def per_step(self, steps: int) -> dict[str, float]:
        """The counts of the round, which had so many steps."""
        return counts(self._profiler.key_averages(), steps)


def counts(events: Iterable[Any], steps: int) -> dict[str, float]:
    """Of named events (`key`, `count`) how many there are of each kind, divided by the steps."""
    found = dict.fromkeys(KINDS, 0.0)
    for event in events:
        for kind, names in KINDS.items():
            if any(event.key == name or event.key.startswith(f"{name} (") for name in names):
                found[kind] += event.count / steps
    return found


def said(what: str, found: Mapping[str, float]) -> str:
    """One line for a report."""
    return f"{what}, per warm step of the eight: " + ", ".join(f"{count:.2f} {kind}" for kind, count in found.items())
