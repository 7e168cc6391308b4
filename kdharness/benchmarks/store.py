"""`bench store`: what the results database takes: a run claimed and finished, many writers, a large study.

Every write is durable before its verb returns, so wall time decides and the disk takes part. Beside the store's verbs
stands a yardstick: the two bare UPDATE transactions that a claim and a finish cannot be less than, at the same
durability.
"""

import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from kdharness.benchmarks.machine import described
from kdharness.benchmarks.measuring import CPU, WALL, Clock, Figure, Reading, alternate, ratios, times
from kdharness.benchmarks.report import Bar, Report
from kdharness.core.home import Home
from kdharness.core.records import WantedRun
from kdharness.results.database import journal_mode
from kdharness.results.owner import Owner
from kdharness.results.store import Store
from kdharness.study.expand import expand
from kdharness.study.load import parse_study

PROCESSES, WRITES_PER_SECOND = 32, 2
STARTING_SECONDS = 5.0
SHA = "0" * 64
SEALED = {name: [(epoch, 50.0) for epoch in range(1, 241)] for name in ("test_top1", "test_top5", "test_loss")}
"""Of a run of 240 epochs."""
EPOCH = {"train_loss": 1.0, "train_top1": 1.0, "train_ce": 1.0, "train_kd": 1.0, "lr": 0.05, "train_seconds": 1.0}
"""What is committed after an epoch."""
ABOUT = (
    f"A run claimed and finished through the store's verbs in one process, {PROCESSES} processes committing an epoch's "
    f"metrics {WRITES_PER_SECOND} times a second each, and a study planned and inserted. SQLite "
    f"{sqlite3.sqlite_version}, journal {journal_mode(sqlite3.sqlite_version_info)}, synchronous FULL. The yardstick: "
    "two bare UPDATE transactions at the same durability, in turns. Medians (interquartile range)."
)


def run(*, quick: bool = False, say: Callable[[str], None] = lambda _: None) -> Report:
    """Measure in a directory of its own where temporary files lie."""
    rounds, batch, seconds, settings = (3, 20, 2.0, 20) if quick else (9, 100, 15.0, 1000)
    with described("cpu", 1) as machine, TemporaryDirectory(prefix="kdharness-bench-") as folder:
        say("claim and finish")
        claims, rate = _claims(Path(folder) / "claims", rounds, batch)
        say(f"{PROCESSES} processes")
        writes, late = _writers(Home(Path(folder) / "writers"), seconds)
        say(f"a study of {settings * 100:,} runs")
        planned, took = _planned(Home(Path(folder) / "planned"), settings)
    bars = [
        Bar("S1", "claim and finish, durable, one process", 200.0, "/s", rate),
        Bar("S1", f"{PROCESSES} processes at {WRITES_PER_SECOND} writes/s, p99", 50.0, "ms", late, better="lower"),
    ]
    if not quick:
        bars.append(Bar("S2", "100,000 runs planned and inserted", 20.0, "s", took, better="lower"))
    return Report("store", ABOUT, machine, [*claims, *writes, *planned], bars, ["no GPU is used"], quick)


def _claims(folder: Path, rounds: int, batch: int) -> tuple[list[Figure], float]:
    """Runs per second, beside the yardstick's; the bar's figure."""
    home = Home(folder)
    store = Store(home, create=True)
    waiting = iter(_saved(store, 2 * batch * (rounds + 1)))
    owner = Owner.current()

    def finish(sealed: dict[str, list[tuple[int, float]]]) -> None:
        for _ in range(batch):
            leases = store.claim([next(waiting)], owner, slot="cpu:0")
            assert leases is not None
            store.complete(leases[0], {"test_top1_last": 50.0}, sealed, SHA, None, None)

    bare = sqlite3.connect(folder / "yardstick.db", isolation_level=None)
    for statement in (
        f"PRAGMA journal_mode={journal_mode(sqlite3.sqlite_version_info)}",
        "PRAGMA synchronous=FULL",
        "CREATE TABLE run (id INTEGER PRIMARY KEY, state TEXT)",
    ):
        bare.execute(statement)
    bare.executemany("INSERT INTO run VALUES (?, 'waiting')", [(number,) for number in range(batch)])

    def yardstick() -> None:
        for number in range(batch):
            for state in ("running", "complete"):
                bare.execute("UPDATE run SET state = ? WHERE id = ?", (state, number))

    sides = {"bare": yardstick, "no values": lambda: finish({}), "240 epochs": lambda: finish(SEALED)}
    found = alternate(sides, rounds, Clock())
    bare.close()
    store.close()
    rows = {"bare": "two bare transactions", "no values": "claim and finish", "240 epochs": "with 240 epochs' values"}
    figures = [
        figure
        for name, row in rows.items()
        for figure in (
            *_rates(row, found[name], batch),
            *times(row, "each", found[name], times=1 / batch),
            *ratios(row, "times as long as bare", found[name], found["bare"]),
        )
    ]
    rate = next(one.median for one in figures if (one.table, one.row, one.unit) == (WALL, rows["no values"], "/s"))
    return figures, rate


def _rates(row: str, readings: Sequence[Reading], batch: int) -> Iterator[Figure]:
    for clock in (CPU, WALL):
        yield Figure(clock, row, "runs/s", "/s", tuple(batch / one.by_clock[clock] for one in readings))


def _saved(store: Store, count: int) -> list[str]:
    """The ids of so many runs that wait in a study; what they need is complete."""
    wanted = _wanted(count, 1)
    store.save_study("bench", "study: bench\n", wanted, path="bench.yaml", spec={})
    for teacher in (run for run in wanted if run.purpose == "teacher"):
        leases = store.claim([teacher.run_id], Owner.current(), slot="cpu:0")
        assert leases is not None
        store.complete(leases[0], {"test_top1_last": 50.0}, {}, SHA, None, None)
    return [run.run_id for run in wanted if run.purpose == "final"]


def _wanted(settings: int, seeds: int) -> list[WantedRun]:
    """A study's runs, and its teacher's: `settings` temperatures of kd."""
    values = ", ".join(f"{1 + number / settings:.8f}" for number in range(settings))
    text = (
        "study: bench\ndataset: synthetic\nteachers: train\npairs: [resnet20 -> resnet8]\n"
        f"distillers:\n  - {{name: kd, temperature: {{each: [{values}]}}}}\nseeds: {seeds}\n"
    )
    return expand(parse_study(text.encode(), "bench.yaml"), data=Path(), confirmed=settings * seeds + 1).wanted


def _writers(home: Home, seconds: float) -> tuple[list[Figure], float]:
    """What a commit takes each of many processes; the 99th percentile in ms."""
    store = Store(home, create=True)
    runs = _saved(store, PROCESSES)
    store.close()
    context = get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])
    begin = time.time() + STARTING_SECONDS
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        jobs = [pool.submit(_write, home.root, run_id, begin, seconds) for run_id in runs]
        taken = [wait for job in jobs for wait in job.result()]
    late = float(np.quantile(taken, 0.99)) * 1e3
    row = f"{PROCESSES} processes, a commit"
    figures = [
        Figure(WALL, row, "each", "ms", tuple(wait * 1e3 for wait in taken)),
        Figure(WALL, row, "p99", "ms", (late,)),
    ]
    return figures, late


def _write(root: Path, run_id: str, begin: float, seconds: float) -> list[float]:
    """One process: the wall seconds of each of its commits, which it makes at its own moments."""
    store = Store(Home(root))
    leases = store.claim([run_id], Owner.current(), slot="cpu:0")
    assert leases is not None
    due = begin + random.Random(run_id).random() / WRITES_PER_SECOND  # noqa: S311  spreads them, nothing secret
    taken = []
    for epoch in range(1, int(seconds * WRITES_PER_SECOND) + 1):
        time.sleep(max(0.0, due - time.time()))
        due = max(due, time.time()) + 1 / WRITES_PER_SECOND  # one that was late does not catch up
        began = time.perf_counter()
        store.commit_epoch(leases[0], epoch, epoch * 782, EPOCH, None)
        taken.append(time.perf_counter() - began)
    store.close()
    return taken


def _planned(home: Home, settings: int) -> tuple[list[Figure], float]:
    """Seconds from the study's text to its runs in the database, a hundred seeds of each setting."""
    store = Store(home, create=True)
    _wanted(1, 1)  # imports are paid before
    clock = Clock()
    began = clock.now()
    wanted = _wanted(settings, 100)
    planned = clock.now()
    store.save_study("bench", "study: bench\n", wanted, path="bench.yaml", spec={})
    inserted = clock.now()
    store.close()
    row = f"{settings * 100:,} runs"
    parts = {"planned": planned - began, "inserted": inserted - planned, "both": inserted - began}
    figures = [figure for name, taken in parts.items() for figure in times(row, name, [taken], unit="s")]
    return figures, (inserted - began).wall
