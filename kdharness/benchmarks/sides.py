"""The sides of a benchmark take turns, each in a process of its own: one computes while the others wait.

So each has the environment that it has in life: the harness's side that of a job, the plain loop's the user's own. And
a round is read from the clock of the process that computed it.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Self, TypeVar

from kdharness.benchmarks.measuring import Clock, Reading
from kdharness.core.errors import EnvironmentRefused
from kdharness.runtime.executors import job_environment

T = TypeVar("T")
_SPAWN = get_context("spawn")


class Turn:
    """What a side's work is given: it says that a round is over, and waits until the next may begin."""

    def __init__(self, connection: "Connection[Any, Any]", clock: Clock) -> None:
        self._connection, self._clock = connection, clock
        self._began: Reading | None = None

    def next_round(self) -> bool:
        """End the round, if one was begun, and wait; False: there is no other."""
        if self._began is not None:
            self._connection.send(self._clock.now() - self._began)
        go: bool = self._connection.recv()
        self._began = self._clock.now()
        return go


class Side:
    """One side, from its start to the end of the with-block."""

    def __init__(self, work: Callable[..., None], *arguments: Any, device: str, environment: Mapping[str, str]) -> None:
        """`work(turn, *arguments)`, a function of a module, runs in the new process."""
        self.readings: list[Reading] = []
        self._connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, device, work, arguments), daemon=True)
        with _environment_of_children(environment):
            self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()
        self._connection.close()

    def round(self) -> Reading:
        """What it took. Raises EnvironmentRefused where the side has died, with what it said last."""
        try:
            self._connection.send(True)
            taken = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise EnvironmentRefused(
                f"a side of the benchmark ended with exit code {self._process.exitcode}",
                remedy="its error stands above; -9 means that it was killed, maybe for its memory",
            ) from None
        assert isinstance(taken, Reading)
        return taken


def take_turns(sides: Sequence[Side], rounds: int, *, warming: int) -> list[list[Reading]]:
    """What each side took in each of the rounds; those `warming` before them are not counted."""
    taken: list[list[Reading]] = [[] for _ in sides]
    for number in range(-warming, rounds):
        for side, readings in zip(sides, taken, strict=True):
            reading = side.round()
            if number >= 0:
                readings.append(reading)
    return taken


def harness_environment(device: str, threads: int) -> Mapping[str, str]:
    """A job's."""
    return job_environment("cpu:0" if device == "cpu" else f"{device}", threads)


def plain_environment(threads: int) -> Mapping[str, str]:
    """The user's, with so many threads."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}


def in_a_job(work: Callable[..., T], *arguments: Any, device: str = "cpu", threads: int = 1) -> T:
    """What the function returns in a process with a job's environment."""
    with (
        _environment_of_children(harness_environment(device, threads)),
        ProcessPoolExecutor(1, mp_context=_SPAWN) as pool,
    ):
        return pool.submit(work, *arguments).result()


def _serve(
    connection: "Connection[Any, Any]", device: str, work: Callable[..., None], arguments: Sequence[Any]
) -> None:
    work(Turn(connection, Clock(device)), *arguments)


@contextmanager
def _environment_of_children(environment: Mapping[str, str]) -> Iterator[None]:
    """Processes started inside have this environment."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
