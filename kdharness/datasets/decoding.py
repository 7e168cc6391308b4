"""Images decoded ahead of their use by worker processes: the bytes are those that one process would give."""

import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context, parent_process
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.types import Crops, ImageSource

CHUNK = 32
"""Images that a worker decodes at a time."""
BATCHES_AHEAD = 2
MOST_WORKERS = 16

Request = tuple[tuple[int, ...], Crops | None]


@dataclass(frozen=True)
class _Unusable:
    """A BadInput on its way to the process that trains."""

    what: str
    where: str
    remedy: str


@dataclass(frozen=True)
class _Requests:
    """The positions in chunks that do not cross batches, each with its crops."""

    order: Tensor
    batch_size: int
    crops: Callable[[Tensor], Crops] | None

    def __iter__(self) -> Iterator[Request]:
        for batch in torch.split(self.order, self.batch_size):
            for chunk in torch.split(batch, CHUNK):
                yield tuple(chunk.tolist()), self.crops(chunk) if self.crops is not None else None


class _Chunks(Dataset[Any]):
    """What a worker does: a request for the tensor of its images."""

    def __init__(self, source: ImageSource) -> None:
        self._source = source

    def __getitem__(self, request: Request) -> Tensor | _Unusable:
        try:
            return self._source.decode(*request)
        except BadInput as error:  # the loader would make one long text of it
            return _Unusable(error.what, error.where, error.remedy)


class Decoded(Iterator[Tensor]):
    """The images at `order` (N,) int64 in batches, (B, C, H, W) uint8 stored channels last; the last may be smaller.

    `crops` gives those of the images at positions (B,). With workers up to two batches are decoded ahead; they die
    with this process. Where one is lost, to a signal meant for all processes say, others begin where it was. Raises
    BadInput as the source, and EnvironmentRefused where workers are lost a second time over the same batch.
    """

    def __init__(
        self,
        source: ImageSource,
        order: Tensor,
        batch_size: int,
        crops: Callable[[Tensor], Crops] | None = None,
        *,
        workers: int,
    ) -> None:
        self._source, self._workers = source, workers
        self._left = _Requests(order, batch_size, crops)
        self._chunks: Iterator[Any] | None = None

    def __next__(self) -> Tensor:
        if not len(self._left.order):
            raise StopIteration
        try:
            batch = self._batch()
        except _LOST:
            self.close()
            if not self._workers:
                raise
            try:
                batch = self._batch()
            except _LOST as error:
                self.close()
                raise EnvironmentRefused(
                    f"processes that decode images were lost: {error!r}",
                    remedy="mostly memory has run out, or shared memory: a container has more of it with --shm-size",
                ) from error
        self._left = replace(self._left, order=self._left.order[len(batch) :])
        if not len(self._left.order):
            self.close()
        return batch

    def __length_hint__(self) -> int:
        """Batches that are left."""
        return math.ceil(len(self._left.order) / self._left.batch_size)

    def close(self) -> None:
        """End the workers; they begin anew where more is wanted."""
        self._chunks = None

    def _batch(self) -> Tensor:
        if self._chunks is None:
            self._chunks = _started(self._source, self._left, self._workers)
        size, chunks = min(self._left.batch_size, len(self._left.order)), []
        while size:
            chunk = next(self._chunks)
            if isinstance(chunk, _Unusable):
                self.close()
                raise BadInput(chunk.what, where=chunk.where, remedy=chunk.remedy)
            chunks.append(chunk)
            size -= len(chunk)
        return torch.cat(chunks)


_LOST = (RuntimeError, OSError, EOFError)
"""What the loader raises for a worker that is no more: it has no type of its own for it."""


def workers_here() -> int:
    """As many as there are processors for this process, within reason."""
    return min(MOST_WORKERS, len(os.sched_getaffinity(0)))


def _started(source: ImageSource, requests: _Requests, workers: int) -> Iterator[Any]:
    options: dict[str, Any] = {}
    if workers:
        in_batches = math.ceil(requests.batch_size / CHUNK)
        options = {
            "multiprocessing_context": _context(),
            "prefetch_factor": max(1, math.ceil(BATCHES_AHEAD * in_batches / workers)),
            "worker_init_fn": _begin,
        }
    loader = DataLoader(
        _Chunks(source),
        batch_size=None,
        sampler=requests,
        collate_fn=_as_it_is,
        num_workers=workers,
        generator=torch.Generator(),  # else it would draw from the global one
        **options,
    )
    return iter(loader)


def _context() -> Any:
    """Workers are forked from a server that has imported torch and nothing else: no threads, locks or GPU of ours."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _begin(_worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that trains
    threading.Thread(target=_die_with_parent, name="parent-watch", daemon=True).start()


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(0)


def _as_it_is(chunk: Any) -> Any:
    return chunk
