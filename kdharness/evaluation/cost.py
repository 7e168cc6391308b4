"""What a step costs on a device: median time after warm-up, and peak memory (LumiNet, Table 3a)."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch

WARM_UP = 5
REPEATS = 20


@dataclass(frozen=True)
class Cost:
    """Of one call."""

    milliseconds: float
    """Median of the calls after the warm-up, the device waited for."""
    memory_mib: float | None
    """The most that was allocated during them, weights included; None on a CPU, where torch keeps no count."""


def measure(
    call: Callable[[], object], device: torch.device, *, warm_up: int = WARM_UP, repeats: int = REPEATS
) -> Cost:
    """Call it `warm_up` times unmeasured (kernels are chosen, memory is taken), then `repeats` times."""
    on_gpu = device.type == "cuda"

    def wait() -> None:
        if on_gpu:
            torch.cuda.synchronize(device)

    for _ in range(warm_up):
        call()
    wait()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(repeats):
        started = perf_counter()
        call()
        wait()
        seconds.append(perf_counter() - started)
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else None
    return Cost(1000 * median(seconds), peak)
