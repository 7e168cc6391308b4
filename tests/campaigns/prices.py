"""What surviving costs: `python tests/campaigns/prices.py [restart=10000] [epoch=30] [mirror=4]`.

`restart`: with so many runs in the database, from `kdharness run` until a killed run's next checkpoint, and `status`.
`epoch`: what a job does for safety in an epoch of so many seconds. `mirror`: what MLflow servers that hang, answer 500
or reset connections all along take from a study of so many runs, and whether its results are those of one without a
tracker. Seconds of processors are what counts; those of the clock mean something on a quiet machine only, so the load
stands beside them.
"""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import torch

from kdharness.core.home import Home
from kdharness.results.owner import Owner
from kdharness.results.store import Store
from kdharness.runtime.leases import BEAT_SECONDS, Heartbeat
from kdharness.runtime.signals import Stop
from kdharness.runtime.sink import JobSink
from kdharness.runtime.watchdog import Watchdog
from kdharness.runtime.writer import Writer
from kdharness.study.expand import expand
from kdharness.study.load import parse_study
from kdharness.testing.hostile_server import KINDS, hostile
from kdharness.training.members import EpochEnd

STUDY = """\
study: prices
dataset: digits
teachers: train
recipe: {{from: digits-quick, epochs: 200, milestones: [], lr: {{each: [{rates}]}}}}
pairs: [resnet8 -> resnet8]
distillers: [none]
seeds: {seeds}
tables: [{{}}]
"""
STEPS, PARAMETERS, TIMES = 782, 1_233_540, 20
"""Of an epoch of CIFAR-100 in batches of 64, of a ResNet8×4, and how often each thing is timed."""
MEASURED = ("_seconds", "_mib")
"""How the names of metrics end that two runs of the same may differ in."""
KDHARNESS = (sys.executable, "-P", "-m", "kdharness")


def say(what: str, cpu: float, wall: float | None, bar: str = "") -> None:
    """A line of the table: seconds of processors, of the clock with the load, and what it should be."""
    shown = "" if wall is None else f"{wall:.3g} s (load {os.getloadavg()[0]:.1f})"
    sys.stdout.write(f"| {what} | {cpu:.3g} s | {shown} | {bar} |\n")
    sys.stdout.flush()


def spent(work: Callable[[], object], *, children: bool = False) -> tuple[float, float]:
    """Seconds of processors and of the clock that the work takes."""

    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    began, clock = cpu(), time.perf_counter()
    work()
    return cpu() - began, time.perf_counter() - clock


def filled(home: Home, runs: int) -> tuple[Path, str]:
    """A study of so many runs, all but one complete; its file, and the one."""
    seeds = min(runs - 1, 99)  # and the student alone is one run more
    rates = ", ".join(f"{0.01 + number / 1e5:.5f}" for number in range((runs - 1) // seeds))
    text = STUDY.format(rates=rates, seeds=seeds)
    expansion = expand(parse_study(text.encode(), "prices.yaml"), data=home.data, confirmed=runs)
    store = Store(home, create=True)
    store.save_study(
        "prices", text, expansion.wanted, path="prices.yaml", spec=expansion.study.spec.model_dump(mode="json")
    )
    run_id = store.queue("prices")[-1].run_id
    store.close()
    database = sqlite3.connect(home.results)
    done = "state = 'complete', fence = 1, started_ms = 1, finished_ms = 2, epoch = 200, weights_sha256 = ?, crc = NULL"
    database.execute(f"UPDATE runs SET {done} WHERE run_id != ?", ("0" * 64, run_id))
    database.execute(
        "INSERT INTO metrics SELECT run_id, 'test_top1_last', 90.0, NULL, NULL FROM runs WHERE run_id != ?", (run_id,)
    )
    database.commit()
    database.close()
    file = home.root / "prices.yaml"
    file.write_text(text)
    return file, run_id


def step_of(home: Home, run_id: str) -> int:
    """The last one that is in the database."""
    database = sqlite3.connect(f"{home.results.as_uri()}?mode=ro", uri=True, timeout=60)
    try:
        return int(database.execute("SELECT step FROM runs WHERE run_id = ?", (run_id,)).fetchone()[0])
    finally:
        database.close()


def until_next_step(home: Home, run_id: str, command: Sequence[str], end: int = signal.SIGTERM) -> tuple[float, float]:
    """Seconds that the command's process computes, and of the clock, until the run's next checkpoint; then it ends."""
    step, clock, own, wall = step_of(home, run_id), time.perf_counter(), 0.0, 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while step_of(home, run_id) <= step and process.poll() is None:
            time.sleep(0.02)
            own, wall = computed(process.pid), time.perf_counter() - clock
        process.send_signal(end)
    return own, wall


def computed(pid: int) -> float:
    """Seconds of processors that a process has used, without its children's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def restart(root: Path, runs: int) -> None:
    """From `run` to the first checkpoint after a kill, and `status`."""
    home = Home.at(root)
    home.root.mkdir()
    file, run_id = filled(home, runs)
    place = ("--home", str(home.root))
    alone = (*KDHARNESS, "job", *place, "--slot", "cpu:0", run_id)  # saves at the end of an epoch, as those of `run`
    often = (*alone[:-1], "--checkpoint-seconds", "0.05", run_id)
    until_next_step(home, run_id, often, signal.SIGKILL)
    store = Store(home)
    store.reap(lambda owner: False)
    store.close()
    say("a job alone until its next checkpoint", *until_next_step(home, run_id, alone), "the model's load")
    until_next_step(home, run_id, often, signal.SIGKILL)
    run = (*KDHARNESS, "run", str(file), *place, "--slots", "1")
    say(f"`run` of {runs:,} runs until the killed one's", *until_next_step(home, run_id, run), "< 5 s more")
    for _ in range(2):
        cpu, wall = spent(lambda: subprocess.run([*KDHARNESS, "status", *place], stdout=-3, check=True), children=True)
        say(f"`status` of {runs:,} runs", cpu, wall, "< 1 s")


def epoch(root: Path, seconds: float) -> None:
    """Heartbeats, the loop's questions, and a checkpoint of a ResNet8x4 with its momentum, hash, syncs and row."""
    home = Home.at(root)
    store = Store(home, create=True)
    text = STUDY.format(rates="0.01", seeds=1)
    wanted = expand(parse_study(text.encode(), "prices.yaml"), data=home.data).wanted
    store.save_study("prices", text, wanted, path="prices.yaml", spec={})
    (lease,) = store.claim([wanted[0].run_id], Owner.current(), slot="cpu:0") or ()
    state = {"weights": torch.randn(PARAMETERS), "momentum": torch.randn(PARAMETERS)}
    metrics = {"train_loss": 1.0, "train_top1": 1.0, "train_ce": 1.0, "train_kd": 1.0, "lr": 0.05, "train_seconds": 1.0}
    with Writer() as writer, Watchdog(lambda _: None) as watchdog:
        sink = JobSink(home, store, [lease], Heartbeat(store, [lease]), watchdog, Stop(), writer)

        def ask() -> None:
            for _ in range(STEPS):
                sink.checkpoint_due(lease.run_id)
                sink.stop_requested()

        def save() -> None:
            for number in range(1, TIMES + 1):
                sink.epoch_end(lease.run_id, EpochEnd(number, number * STEPS, metrics, state))
                sink.settle()

        def beat() -> None:
            for _ in range(TIMES):
                store.heartbeat([lease])

        save()
        parts = {
            f"{seconds / BEAT_SECONDS:.0f} heartbeats": (spent(beat), seconds / BEAT_SECONDS / TIMES),
            f"{STEPS} times the loop's questions": (spent(ask), 1.0),
            f"a checkpoint of {8 * PARAMETERS / 2**20:.1f} MiB": (spent(save), 1 / TIMES),
        }
    store.close()
    total = [0.0, 0.0]
    for what, ((cpu, wall), share) in parts.items():
        say(what, cpu * share, wall * share)
        total = [total[0] + cpu * share, total[1] + wall * share]
    say(f"all of an epoch of {seconds:.0f} s: {total[0] / seconds:.2%} of it", *total, "< 1 %")


NO_MLFLOW = """
import kdharness.runtime.command
kdharness.runtime.command.mlflow_installed = lambda: False
from kdharness.cli.app import main
main()
"""
ALONE = "no tracker"


def run_study(folder: Path, runs: int, uri: str | None) -> tuple[float, float, float]:
    """Seconds of processors and of the clock of `kdharness run`, and the mirror's share of the former.

    The user's pyproject.toml names the server at `uri`; without one it is as if MLflow were not installed.
    """
    folder.mkdir(parents=True)
    (folder / "prices.yaml").write_text(STUDY.format(rates="0.05", seeds=runs))
    if uri is not None:
        (folder / "pyproject.toml").write_text(f'[tool.kdharness]\nmlflow = "{uri}"\n')
    own = (sys.executable, "-P", "-c", NO_MLFLOW) if uri is None else KDHARNESS
    mirrors: dict[str, float] = {}

    def follow() -> None:
        with (
            (folder / "out.txt").open("w") as out,
            subprocess.Popen(
                [*own, "run", "prices.yaml", "--home", "home", "--slots", "1"], cwd=folder, stdout=out, stderr=out
            ) as process,
        ):
            while process.poll() is None:
                for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                    with suppress(OSError, IndexError):  # it has just ended
                        if b"mirror" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                            mirrors[pid] = computed(int(pid))
                time.sleep(0.2)
        assert process.returncode == 0, (folder / "out.txt").read_text()

    cpu, wall = spent(follow, children=True)
    return cpu, wall, sum(mirrors.values())


def came_out(home: Home) -> tuple[dict[str, object], int]:
    """By run all that is no time and no memory: weights, final metrics, curves; how many records wait for `sync`."""
    store = Store(home)
    found: dict[str, object] = {}
    for row in store.rows("prices"):
        curves = [(one.name, one.epoch, one.value) for one in store.epoch_metrics(row.run_id)]
        values = [*sorted(row.metrics.items()), *curves]
        found[row.run_id] = row.state, row.weights_sha256, [one for one in values if not one[0].endswith(MEASURED)]
    waiting = store.outbox_size()
    store.close()
    return found, waiting


def mirror(root: Path, runs: int) -> None:
    """Studies of so many runs, alone before and after, and with servers that fail from the first to the last second."""
    prices: dict[str, tuple[float, float]] = {}
    results: dict[str, object] = {}
    for number, kind in enumerate((ALONE, *KINDS, ALONE)):
        folder = root / str(number)
        with hostile(kind) if kind in KINDS else nullcontext() as uri:
            cpu, wall, own = run_study(folder, runs, uri)
        results[kind], waiting = came_out(Home.at(folder / "home"))
        if kind == ALONE:
            say(f"a study of {runs} runs, {ALONE}", cpu, wall)
            prices[kind] = cpu, wall
            continue
        more, longer = (here / there - 1 for here, there in zip((cpu, wall), prices[ALONE], strict=True))
        say(f"a server that {kind}: {more:+.2%} of processors, {longer:+.2%} of the clock", cpu, wall, "< 1 % more")
        say(f"of it the mirror's process: {own / cpu:.2%}", own, None, "< 1 %")
        equal = results[kind] == results[ALONE]
        sys.stdout.write(f"{'all results equal' if equal else 'RESULTS DIFFER'}, {waiting} records wait for `sync`\n")


PARTS: dict[str, tuple[Callable[[Path, float], None], float]] = {
    "restart": (lambda root, size: restart(root, int(size)), 10_000),
    "epoch": (epoch, 30.0),
    "mirror": (lambda root, size: mirror(root, int(size)), 4),
}


def main(asked: Sequence[str]) -> int:
    """Exit code 0."""
    chosen = dict(one.partition("=")[::2] for one in asked) or dict.fromkeys(PARTS, "")
    torch.set_num_threads(1)
    sys.stdout.write("| what | processors | clock | bar |\n|---|--:|--:|--:|\n")
    with tempfile.TemporaryDirectory(prefix="kdharness-prices-") as place:
        for name, size in chosen.items():
            work, usual = PARTS[name]
            work(Path(place) / name, float(size or usual))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
