"""Recording by CUDA graphs: one graph for all branches, each on a stream of its own between a fork and a join."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from kdharness.training.recording import Recorder, Replay


def recorder_of(device: torch.device) -> Recorder | None:
    """What records steps on that device; None on a CPU, which has nothing that could."""
    return CudaGraphs(device) if device.type == "cuda" else None


class CudaGraphs:
    """Graphs that are replayed one after another, in one pool of memory: none leaves anything there for another."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch does not type it

    @contextmanager
    def strict(self) -> Iterator[None]:
        """See `Recorder.strict`."""
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)

    def wait(self) -> None:
        """See `Recorder.wait`."""
        torch.cuda.synchronize(self._device)

    def record(self, branches: Sequence[Callable[[], None]]) -> Replay:
        """See `Recorder.record`.

        Each branch draws from a generator of its own, which the default one stands for while the branch is recorded:
        so it draws alike whatever is recorded beside it. Raises RuntimeError also for draws on the host, which a
        replay could not repeat.
        """
        graph = torch.cuda.CUDAGraph()
        default = torch.cuda.default_generators[self._device.index or 0]
        own, host = default.graphsafe_get_state(), torch.default_generator.get_state()
        generators = [torch.Generator(self._device) for _ in branches]
        streams = [torch.cuda.Stream(self._device) for _ in branches]  # type: ignore[no-untyped-call]  # as above
        for generator in generators:
            graph.register_generator_state(generator)
        try:
            default.graphsafe_set_state(generators[0])
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                for branch, generator, stream in zip(branches, generators, streams, strict=True):
                    default.graphsafe_set_state(generator)
                    stream.wait_stream(self._stream)
                    with torch.cuda.stream(stream):
                        branch()
                for stream in streams:
                    self._stream.wait_stream(stream)
        finally:
            default.graphsafe_set_state(own)
        if not torch.equal(torch.default_generator.get_state(), host):
            raise RuntimeError("it draws on the host")

        def replay(seeds: Sequence[int]) -> None:
            for generator, seed in zip(generators, seeds, strict=True):
                generator.manual_seed(seed)
            graph.replay()

        return replay
