"""What surviving costs: `python tests/campaigns/prices.py [restart=10000] [epoch=30] [mirror=60]`.

`restart`: with so many runs in the database, from `kdharness run` until a killed run's next checkpoint, and `status`.
`epoch`: what a job does for safety in an epoch of so many seconds. `mirror`: what a server that hangs, and one that
answers 500, take from a study, followed for so many seconds. Seconds of processors are what counts; those of the clock
mean something on a quiet machine only, so the load stands beside them.
"""

import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch

from kdharness.core.home import Home
from kdharness.results.owner import Owner
from kdharness.results.store import Store
from kdharness.runtime.leases import BEAT_SECONDS, Heartbeat
from kdharness.runtime.mirror import MirrorProcess
from kdharness.runtime.signals import Stop
from kdharness.runtime.sink import JobSink
from kdharness.runtime.watchdog import Watchdog
from kdharness.runtime.writer import Writer
from kdharness.study.expand import expand
from kdharness.study.load import parse_study
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
HOUR = 3600.0
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


class Refuses(BaseHTTPRequestHandler):
    """Answers 500 to everything."""

    def do_GET(self) -> None:
        self.send_error(500)

    do_POST = do_PUT = do_PATCH = do_GET

    def log_message(self, format: str, *arguments: object) -> None: ...


@contextmanager
def hostile(kind: str) -> Iterator[str]:
    """The address of a server that hangs, or of one that answers 500."""
    if kind == "hangs":
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(64)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        return
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


MIRROR = """
import sys
from kdharness.core.home import Home
from kdharness.runtime.mirror import run_mirror
from kdharness.tracking.mlflow import open_mlflow
run_mirror(Home.at(sys.argv[-1]), lambda home: open_mlflow(home, "URI"))
"""


def follow(process: MirrorProcess, seconds: float) -> None:
    """As the run loop does, once a second."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        process.tend()
        time.sleep(1.0)


def mirror(root: Path, seconds: float) -> None:
    """The mirror's process, and what the runner does for it and waits for at the end; of an hour's study."""
    for kind in ("hangs", "answers 500"):
        home = Home.at(root / kind.partition(" ")[0])
        home.root.mkdir(parents=True)
        filled(home, 100)
        store = Store(home)
        store.outbox_all()
        with hostile(kind) as uri:
            process = MirrorProcess(home, store, (sys.executable, "-c", MIRROR.replace("URI", uri)))
            runner, _ = spent(partial(follow, process, seconds))
            assert process._process is not None
            cpu = computed(process._process.pid)
            _, waited = spent(process.finish)
            behind = store.outbox_size()
        store.close()
        say(f"a server that {kind}: the mirror's process in {seconds:.0f} s", cpu, None)
        say("the runner's looks, and its wait at the end", runner, waited)
        share = max(runner / seconds, waited / HOUR)
        say(f"what an hour of training is longer by: {share:.2%}", runner / seconds * HOUR, waited, "< 1 %")
        sys.stdout.write(f"{behind} records wait for `sync`\n" if behind else "NO RECORD WAITS\n")


PARTS: dict[str, tuple[Callable[[Path, float], None], float]] = {
    "restart": (lambda root, size: restart(root, int(size)), 10_000),
    "epoch": (epoch, 30.0),
    "mirror": (mirror, 60.0),
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
