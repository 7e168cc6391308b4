"""SIGKILL at any moment: of a job, of its runner, of everything at once; and SIGSTOP past the lease."""

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import forking
from forking import children, exit_code, lives, new_study, start_runner
from outcome import Outcome

from kdharness.core.home import Home
from kdharness.results.store import Store
from kdharness.runtime.options import JobOptions
from kdharness.training.weights import load_weights, weights_sha256

RUNNERS = (("cpu:0", "cpu:1"), ("cpu:2", "cpu:3"))
GRACE_SECONDS = 60.0
"""What the last processes of a study may take to go away."""


def kill_loop(
    root: Path,
    kills: int,
    *,
    seeds: int,
    pause: float,
    expected: Callable[[str], str],
    fault: str,
    options: JobOptions | None = None,
    runners: int = len(RUNNERS),
) -> Outcome:
    """Run studies of a teacher and twice `seeds` students until that many processes were killed on the way.

    One kill after at most `pause` seconds: mostly of a job, one in thirty of a runner, one in sixty of a runner with
    all its jobs at once. `expected`: run -> hash of its undisturbed weights.
    """
    dice = random.Random(kills)
    total = Outcome(fault, 0)
    studies = 0
    while total.tries < kills:
        studies += 1
        home, ids = new_study(root / f"{studies}", seeds)
        killed = _disturb(home, dice, pause, kills - total.tries, options or JobOptions(), runners)
        found = audit(home, {run_id: expected(run_id) for run_id in ids.values()}, killed)
        total = Outcome(
            fault,
            total.tries + len(killed),
            total.lost + found.lost,
            total.duplicated + found.duplicated,
            total.wrong + found.wrong,
            max(total.slowest or 0.0, found.slowest or 0.0),
            f"{studies * len(ids):,} runs",
        )
        if not total.sound:
            return total
    return total


def _disturb(
    home: Home, dice: random.Random, pause: float, most: int, options: JobOptions, runners: int
) -> dict[int, float]:
    """Start runners, kill until they are done; pid -> time of the kill, in seconds of Unix time."""
    slots = RUNNERS[:runners]
    alive = {start_runner(home, each, options): each for each in slots}
    killed: dict[int, float] = {}
    while alive:
        time.sleep(dice.uniform(0, pause))
        for pid in list(alive):
            code = exit_code(pid, wait=False)
            if code is not None:
                again = alive.pop(pid)
                if code == -signal.SIGKILL:
                    alive[start_runner(home, again, options)] = again
        if not alive or len(killed) >= most:
            continue
        runner = dice.choice(list(alive))
        zygotes = children(runner)
        jobs = [job for zygote in zygotes for job in children(zygote) if lives(job)]
        lot = dice.random()
        if lot < 1 / 60:
            victims = [runner, *zygotes, *jobs]
        elif lot < 1 / 20:
            victims = [runner]
        else:
            victims = [dice.choice(jobs)] if jobs else []
        for victim in victims:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                killed[victim] = time.time()
    return killed


def pauses(root: Path, stops: int) -> Outcome:
    """Jobs stand still past their lease while others take their runs, then go on. Light, short leases."""
    dice = random.Random(stops)
    tries = refused = studies = 0
    total = Outcome("", 0)
    while tries < stops and not (total.lost or total.duplicated or total.wrong):
        studies += 1
        home, ids = new_study(root / f"{studies}", seeds=10)
        runners = {start_runner(home, each, JobOptions()) for each in RUNNERS}
        while runners:
            time.sleep(dice.uniform(0, 0.02))
            runners = {pid for pid in runners if exit_code(pid, wait=False) is None}
            jobs = [job for runner in runners for zygote in children(runner) for job in children(zygote) if lives(job)]
            if jobs and tries < stops:
                job = dice.choice(jobs)
                with suppress(ProcessLookupError):
                    os.kill(job, signal.SIGSTOP)
                    time.sleep(forking.SHORT_LEASE + dice.uniform(0, 0.3))
                    os.kill(job, signal.SIGCONT)
                    tries += 1
        total = audit(home, {run_id: forking.light_hash(run_id) for run_id in ids.values()}, {})
        refused += sum("lease lost" in home.log(run_id).read_text() for run_id in ids.values())
    return Outcome(
        "SIGSTOP past the lease (16)", tries, total.lost, total.duplicated, total.wrong, note=f"{refused} refused"
    )


def audit(home: Home, expected: Mapping[str, str], killed: Mapping[int, float]) -> Outcome:
    """What the database and the files say after everything has ended."""
    patience = time.monotonic() + GRACE_SECONDS
    while _of_home(home) and time.monotonic() < patience:
        time.sleep(0.05)
    wrong = len(_of_home(home))
    store = Store(home)
    lost = duplicated = 0
    slowest = 0.0
    for run_id, sha256 in expected.items():
        run = store.run(run_id)
        ends = [one.outcome for one in run.history].count("complete")
        lost += ends == 0 or run.state != "complete"
        duplicated += ends > 1
        wrong += run.weights_sha256 != sha256 or _on_disk(home, run_id) != sha256
        wrong += store.checkpoints(run_id) != [] or not _epochs_are_whole(store, run_id, run.epoch)
        for one in run.history:
            if one.outcome == "lost" and one.finished is not None and one.owner.pid in killed:
                slowest = max(slowest, one.finished.timestamp() - killed[one.owner.pid])
    store.close()
    wrong += _integrity(home) != "ok"
    errors = home.root / "errors.txt"
    wrong += errors.read_text().count("Traceback") if errors.exists() else 0
    return Outcome("", len(killed), lost, duplicated, wrong, slowest)


def _of_home(home: Home) -> list[int]:
    """Jobs of this home that still live: they hold its database open."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if any(os.readlink(file).startswith(f"{home.root}/") for file in (entry / "fd").iterdir()):
                    found.append(int(entry.name))
    return found


def _on_disk(home: Home, run_id: str) -> str | None:
    path = home.weights(run_id)
    return weights_sha256(load_weights(path)) if path.exists() else None


def _epochs_are_whole(store: Store, run_id: str, epochs: int) -> bool:
    numbers = [one.epoch for one in store.epoch_metrics(run_id) if one.name == "train_loss"]
    return numbers == list(range(1, epochs + 1))


def _integrity(home: Home) -> str:
    connection = sqlite3.connect(home.results)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()


def light_kills(root: Path, kills: int) -> Outcome:
    """Over jobs whose training is arithmetic. Must be called in a process that `be_light`."""
    seeds = min(40, 5 + kills // 10)
    return kill_loop(
        root, kills, seeds=seeds, pause=0.03, expected=forking.light_hash, fault="SIGKILL, light jobs (1, 2, 3, 14, 24)"
    )


def training_kills(root: Path, kills: int) -> Outcome:
    """Over real training of a teacher and cohorts of students, checkpoints at any step."""
    hashes = forking.undisturbed(root / "undisturbed", seeds=4)
    return kill_loop(
        root,
        kills,
        seeds=4,
        pause=1.0,
        expected=hashes.__getitem__,
        fault="SIGKILL, real training and cohorts (1, 2, 3)",
        options=JobOptions(checkpoint_seconds=0.1),
    )
