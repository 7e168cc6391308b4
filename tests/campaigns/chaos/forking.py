"""Runners and jobs as forks of one process that has imported everything: dozens of kills a second are possible.

The run loop, the job, its heartbeat, checkpoints and every write are the product's own. A light job replaces only
the training loop, by arithmetic whose result is known.
"""

import functools
import hashlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "runtime"))
from tiny_study import ask, wanted

import kdharness.runtime.inputs
import kdharness.runtime.job
import kdharness.runtime.provenance
import kdharness.runtime.scheduler
import kdharness.runtime.sink
import kdharness.training.cohort
from kdharness.core.errors import ExitCode, LeaseLost
from kdharness.core.home import Home
from kdharness.datasets import opening
from kdharness.distillers.registry import DISTILLERS
from kdharness.models.registry import MODELS
from kdharness.results.store import Store
from kdharness.runtime import parent
from kdharness.runtime.executors import Handle
from kdharness.runtime.job import run_job
from kdharness.runtime.leases import Heartbeat
from kdharness.runtime.options import JobOptions
from kdharness.runtime.progress import NoProgress
from kdharness.runtime.scheduler import run_study
from kdharness.training.members import EpochEnd, Finished
from kdharness.training.weights import weights_sha256

STUDY = "tiny"
EPOCHS = 3
SHORT_LEASE = 0.3
train_for_real = kdharness.training.cohort.train_cohort


def preload() -> None:
    """Import, read and cache what every fork would have to again; nothing that starts a thread."""
    torch.set_num_threads(1)
    for registry in (DISTILLERS, MODELS):
        for name in registry:
            registry.get(name)
    cached = functools.cache(opening.open_dataset)
    opening.open_dataset = cached
    cached("digits", Path()).split("train")


def light_step(run_id: str, epoch: int, weights: torch.Tensor) -> torch.Tensor:
    """The next weights: a function of the run, the epoch and the weights before."""
    text = f"{run_id} {epoch} ".encode() + weights.numpy().tobytes()
    return torch.frombuffer(bytearray(hashlib.sha256(text).digest()), dtype=torch.uint8)


def light_training(members, dataset, execution, sink) -> None:
    """`train_cohort` for light jobs: a checkpoint after each epoch, members in turn."""
    del dataset, execution
    states = {}
    for member in members:
        state = member.resume or {"run": member.run_id, "epoch": 0, "weights": torch.zeros(32, dtype=torch.uint8)}
        assert state["run"] == member.run_id, "a checkpoint of another run"
        states[member.run_id] = state
    while states:
        for run_id, state in list(states.items()):
            try:
                _advance(run_id, state, states, sink)
            except LeaseLost:
                del states[run_id]
            if sink.stop_requested():
                return


def _advance(run_id, state, states, sink) -> None:
    epoch = state["epoch"] + 1
    if epoch > EPOCHS:
        weights = {"w": state["weights"]}
        sealed = {"test_top1": [(number, float(number)) for number in range(1, EPOCHS + 1)]}
        sink.finished(run_id, Finished({"test_top1_last": 3.0}, sealed, weights, weights_sha256(weights), None))
        del states[run_id]
        return
    state |= {"epoch": epoch, "weights": light_step(run_id, epoch, state["weights"])}
    sink.epoch_end(run_id, EpochEnd(epoch, epoch * 10, {"train_loss": 1.0 / epoch}, dict(state)))


def light_hash(run_id: str) -> str:
    """What a light run ends with, undisturbed."""
    weights = torch.zeros(32, dtype=torch.uint8)
    for epoch in range(1, EPOCHS + 1):
        weights = light_step(run_id, epoch, weights)
    return weights_sha256({"w": weights})


def be_light() -> None:
    """From here on jobs of this process and its forks are light."""
    kdharness.training.cohort.train_cohort = light_training
    kdharness.runtime.provenance.commit = lambda: None


def be_quick(look_seconds: float = 0.02) -> None:
    """From here on the run loop looks often, and never gives a run up: its killer is not the run's fault."""
    kdharness.runtime.scheduler.TICK_SECONDS = 0.005
    kdharness.runtime.scheduler.LOOK_SECONDS = look_seconds
    kdharness.runtime.scheduler.MAX_ATTEMPTS = 10**6


def be_short_leased() -> None:
    """From here on a job that stands still for a third of a second has lost its lease."""
    claim, heartbeat = Store.claim, Store.heartbeat
    Store.claim = functools.partialmethod(claim, lease_seconds=SHORT_LEASE)
    Store.heartbeat = lambda self, leases, lease_seconds=0.0: heartbeat(self, leases, SHORT_LEASE)
    kdharness.runtime.job.Heartbeat = functools.partial(Heartbeat, beat_seconds=SHORT_LEASE / 6)


def new_study(root: Path, seeds: int) -> tuple[Home, dict[str, str]]:
    """A fresh home whose study asks for a teacher and `seeds` runs each of two students."""
    home = Home.at(root)
    store = Store(home, create=True)
    ids = ask(store, wanted(seeds=seeds), STUDY)
    store.close()
    return home, ids


def fork(work: Callable[[], int], errors: Path) -> int:
    """The pid of a child that does `work` and exits with its result; what it says goes to the file `errors`."""
    pid = os.fork()
    if pid:
        return pid
    code = 4
    try:
        file = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, 1)
        os.dup2(file, 2)
        code = int(work())
    except BaseException:  # noqa: BLE001  a child must not go on as its parent
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def exit_code(pid: int, *, wait: bool = True) -> int | None:
    """As Popen says it: -N after signal N; None while it goes on."""
    found, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def children(pid: int) -> list[int]:
    """Pids of the living and dead children of `pid`; none where it is gone."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def lives(pid: int) -> bool:
    """Whether it runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def job_process(home: Home, run_ids: Sequence[str], slot: str, options: JobOptions) -> int:
    """What a job does in its process."""
    os.setsid()
    os.environ[parent.ENVIRONMENT] = str(os.getppid())
    return run_job(home, run_ids, slot=slot, options=options)


class ForkExecutor:
    """Jobs as forks of a zygote, which was forked before this process opened the database and ends with it."""

    def __init__(self, home: Home, options: JobOptions) -> None:
        ours, its = socket.socketpair()
        self.zygote = fork(lambda: self._serve(ours, its, home, options), home.root / "errors.txt")
        its.close()
        self._channel = ours.makefile("rw")
        self._codes: dict[int, int] = {}
        self._submitted = 0

    @staticmethod
    def _serve(ours: socket.socket, its: socket.socket, home: Home, options: JobOptions) -> int:
        ours.close()
        channel = its.makefile("rw")
        with suppress(OSError):  # its runner was killed
            for line in channel:
                verb, *words = json.loads(line)
                if verb == "submit":
                    slot, *run_ids = words
                    job = functools.partial(job_process, home, run_ids, slot, options)
                    answer = fork(job, home.root / "errors.txt")
                else:
                    answer = exit_code(words[0], wait=False)
                channel.write(json.dumps(answer) + "\n")
                channel.flush()
        return 0

    def _ask(self, *words):
        self._channel.write(json.dumps(words) + "\n")
        self._channel.flush()
        return json.loads(self._channel.readline())

    def submit(self, run_ids: Sequence[str], slot: str) -> Handle:
        self._submitted += 1
        return Handle(self._submitted, tuple(run_ids), slot, self._ask("submit", slot, *run_ids))

    def poll(self, handle: Handle) -> int | None:
        assert handle.pid is not None
        if handle.pid not in self._codes:
            code = self._ask("poll", handle.pid)
            if code is None:
                return None
            self._codes[handle.pid] = code
        return self._codes[handle.pid]

    def cancel(self, handle: Handle, *, now: bool = False) -> None:
        with suppress(ProcessLookupError):
            os.kill(handle.pid, signal.SIGKILL if now else signal.SIGTERM)


def runner_process(home: Home, slots: Sequence[str], options: JobOptions) -> int:
    """What a runner does in its process."""
    executor = ForkExecutor(home, options)
    store = Store(home)
    outcome = run_study(store, STUDY, home=home, slots=slots, executor=executor, progress=NoProgress())
    return outcome.exit_code


def start_runner(home: Home, slots: Sequence[str], options: JobOptions) -> int:
    """The pid of a new runner."""
    return fork(lambda: runner_process(home, slots, options), home.root / "errors.txt")


def finish(home: Home) -> int:
    """Run the study to its end, undisturbed; the exit code."""
    return exit_code(start_runner(home, ("cpu:0",), JobOptions())) or 0


def undisturbed(root: Path, seeds: int) -> dict[str, str]:
    """Run -> the hash of its weights where nobody disturbs it."""
    home, ids = new_study(root, seeds)
    assert finish(home) == ExitCode.DONE
    return hashes(home, ids.values())


def hashes(home: Home, run_ids) -> dict[str, str | None]:
    """Run -> the hash in the database."""
    store = Store(home)
    found = {run_id: store.run(run_id).weights_sha256 for run_id in run_ids}
    store.close()
    return found
