"""Workers that decode ahead: the same bytes as without them, in order, and none is left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.types import Crops
from kdharness.datasets import decoding
from kdharness.datasets.decoding import Decoded, workers_here

ORDER = torch.arange(99).flip(0)


@dataclass(frozen=True)
class Numbers:
    """100 images of 2 pixels that say which they are and how they were cropped; the bad one has no bytes."""

    bad: int = -1

    def __len__(self) -> int:
        return 100

    def __getitem__(self, chosen: Tensor) -> "Numbers":
        raise NotImplementedError

    def decode(self, positions: Sequence[int], crops: Crops | None = None) -> Tensor:
        if self.bad in positions:
            raise BadInput("is no image", where=f"{self.bad}.JPEG", remedy="unpack it again")
        number = torch.tensor(positions)
        crop = crops(number, number)[:, 0] if crops is not None else number * 0
        return torch.stack([number, crop], 1).to(torch.uint8)[:, :, None, None]


@dataclass(frozen=True)
class Plus:
    """A crop that says of which images it is."""

    first: int

    def __call__(self, heights: Tensor, widths: Tensor) -> Tensor:
        return torch.stack([heights + self.first] * 5, 1)


def crops(positions: Tensor) -> Crops:
    return Plus(int(positions[0]))


def decoded(workers: int, order: Tensor = ORDER, bad: int = -1) -> Decoded:
    return Decoded(Numbers(bad), order, 40, crops, workers=workers)


@pytest.fixture(scope="module")
def batches() -> list[Tensor]:
    return list(decoded(0))


def test_batches_hold_the_images_in_order(batches: list[Tensor]) -> None:
    assert [len(batch) for batch in batches] == [40, 40, 19]
    assert torch.equal(torch.cat(batches)[:, 0, 0, 0].long(), ORDER)


def test_workers_change_nothing_and_end(batches: list[Tensor]) -> None:
    random = torch.get_rng_state()
    for workers in (1, 2):
        for one, other in zip(decoded(workers), batches, strict=True):
            assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), random)
    assert multiprocessing.active_children() == []


def test_later_batches_do_not_depend_on_where_one_begins(batches: list[Tensor]) -> None:
    for one, other in zip(decoded(0, ORDER[40:]), batches[1:], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_is_told_as_the_source_told_it(workers: int) -> None:
    source = decoded(workers, bad=30)
    assert len(next(source)) == 40
    with pytest.raises(BadInput) as raised:
        next(source)
    assert (raised.value.what, raised.value.where, raised.value.remedy) == (
        "is no image",
        "30.JPEG",
        "unpack it again",
    )
    assert multiprocessing.active_children() == []


def test_workers_end_where_the_rest_is_not_wanted() -> None:
    source = decoded(2)
    next(source)
    assert len(multiprocessing.active_children()) == 2
    del source
    assert multiprocessing.active_children() == []


def kill_workers() -> None:
    for worker in multiprocessing.active_children():
        worker.kill()


def test_where_workers_are_lost_others_go_on(batches: list[Tensor]) -> None:
    source = decoded(2)
    found = [next(source)]
    kill_workers()
    found += list(source)
    for one, other in zip(found, batches, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("workers", "error"), [(1, EnvironmentRefused), (0, ConnectionResetError)])
def test_workers_lost_again_over_one_batch_are_told_of(
    monkeypatch: pytest.MonkeyPatch, workers: int, error: type[Exception]
) -> None:
    begun: list[int] = []

    def lost(*_: object) -> Iterator[Tensor]:
        begun.append(1)
        raise ConnectionResetError("no more")
        yield

    monkeypatch.setattr(decoding, "_started", lost)
    with pytest.raises(error, match="no more"):
        next(decoded(workers))
    assert len(begun) == 1 + workers


SCRIPT = """
import multiprocessing, sys
sys.path.insert(0, {tests!r})
from test_decoding import decoded
source = decoded(2)
next(source)
print(*[each.pid for each in multiprocessing.active_children()], flush=True)
sys.stdin.read()
"""


def test_workers_outlive_an_interrupt_but_not_their_parent() -> None:
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        server = int(Path(f"/proc/{workers[0]}/stat").read_text().rpartition(")")[2].split()[1])
        for pid in workers:
            os.kill(pid, signal.SIGINT)
        time.sleep(0.1)
        assert [is_running(pid) for pid in workers] == [True] * 2
        parent.kill()
    until = time.monotonic() + 10
    while any(map(is_running, [*workers, server])) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(is_running, [*workers, server]))


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_there_are_workers_for_every_processor_within_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3)))
    assert workers_here() == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(192)))
    assert workers_here() == 16
