"""How long a report over very many runs takes: `make many-runs`, or `python tests/campaigns/many_runs.py 10000 100000`.

For each number a home with a study of so many runs of random settings; then `kdharness report` in a process of its own
in every format and with all that can be asked, each the best of three rounds: seconds of CPU and of the clock, peak
memory, whether torch was loaded, and every mean against one computed from the raw rows. The study is asked for through
the store; with `--verbs` its runs are also claimed, started and completed one by one (minutes for ten thousand), else
their results are written at once, in the rows that the verbs would write.
"""

import csv
import io
import json
import math
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

from kdharness.core.home import Home
from kdharness.core.records import Numerics, Recipe, Setting, WantedRun
from kdharness.results import schema
from kdharness.results.checksums import COVERED
from kdharness.results.encoding import metric_row, row_crc
from kdharness.results.owner import Owner
from kdharness.results.store import Store

METHODS, SEEDS, EPOCHS = 20, 5, 3
NUMERICS = Numerics(
    device_kind="cpu", threads=1, layout="channels_last", torch="2.15.0", torch_cuda=None, numpy="2.4.0"
)
REPORT = """
import resource, sys
sys.argv = ["kdharness", "report", "many", "--home", *sys.argv[1:]]
from kdharness.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, "torch" in sys.modules, file=sys.stderr)
"""

ASKED: dict[str, tuple[str, ...]] = {
    **{form: ("--format", form) for form in ("csv", "md", "latex", "html", "json")},
    "tests and print": (
        "--format", "md", "--pm", "ci", "--bold", "indistinguishable", "--published", "sun2024logit Table 2",
    ),
    "ranks": ("--format", "md", "--rank"),
}  # fmt: skip


def wanted(number: int) -> list[WantedRun]:
    """Settings with random constants: METHODS rows by as many pairs as it takes, SEEDS of each."""
    draw, runs = random.Random(number), []
    for pair in range(math.ceil(number / METHODS / SEEDS)):
        for row in range(METHODS):
            constants = {"temperature": draw.uniform(1, 16), "kd_weight": draw.random()}
            setting = Setting(
                dataset="cifar100",
                fingerprint="f" * 64,
                student=f"student{pair}",
                student_revision=1,
                distiller="kd",
                distiller_revision=1,
                constants=constants,
                recipe=Recipe(epochs=EPOCHS, batch_size=64, lr=draw.uniform(0.01, 0.1)),
            )
            names = (f"method {row}", f"teacher{pair} -> student{pair}", f"student{pair}", f"teacher{pair}")
            runs += [WantedRun(setting, seed, "final", *names, row=row) for seed in range(SEEDS)]
    return runs[:number]


def metrics(draw: random.Random) -> dict[str, float]:
    top1 = draw.uniform(60, 80)
    return {"test_top1_last": top1, "test_top1_best": top1 + draw.random(), "test_top5_last": draw.uniform(90, 99)}


def fill(home: Home, number: int, *, by_verbs: bool) -> None:
    store = Store(home, create=True)
    runs = wanted(number)
    store.save_study("many", "study: many\n", runs, path="many.yaml", spec={"study": "many"})
    draw = random.Random(number)
    ids = [run.run_id for run in runs]
    if by_verbs:
        owner = Owner.current()
        for start in range(0, number, 200):
            for lease in store.claim(ids[start : start + 200], owner, slot="cpu:0", lease_seconds=3600) or []:
                store.start(lease, numerics=NUMERICS, device="cpu", commit="abc", versions={"torch": "2.15.0"})
                found = metrics(draw)
                sealed = {"test_top1": [(EPOCHS, found["test_top1_last"])]}
                store.complete(lease, found, sealed, "a" * 64, None, None)
        store.close()
        return
    store.close()
    rows = [metric_row(run_id, name, value) for run_id in ids for name, value in metrics(draw).items()]
    connection = sqlite3.connect(home.results)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute(
        "UPDATE runs SET state = 'complete', weights_sha256 = ?, attempts = 1, fence = 1, numerics_keys = '[\"n\"]', "
        "device = 'cpu', started_ms = 1, finished_ms = 2, metric_names = ?",
        ("a" * 64, json.dumps(sorted(metrics(draw)))),
    )
    connection.create_function("row_crc", -1, row_crc, deterministic=True)
    connection.execute(f"UPDATE runs SET crc = row_crc({', '.join(COVERED[schema.Run])})")
    connection.executemany("INSERT INTO metrics VALUES (:run_id, :name, :value, :nonfinite, :crc)", rows)
    connection.commit()
    connection.close()


class Told(NamedTuple):
    """What one report said, and what it took."""

    text: str
    cpu: float
    wall: float
    mib: float
    torch: bool


def report(home: Home, asked: Sequence[str]) -> Told:
    began = perf_counter()
    command = [sys.executable, "-c", REPORT, str(home.root), *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, memory, torch = done.stderr.split()[-3:]
    return Told(done.stdout, float(seconds), perf_counter() - began, float(memory), torch == "True")


def wrong(home: Home, text: str) -> int:
    """How many means are not those of the raw rows."""
    connection = sqlite3.connect(home.results)
    asked = (
        "SELECT label, pair, value FROM study_labels JOIN study_runs USING (study_run_id) JOIN metrics USING (run_id) "
    )
    raw: dict[tuple[str, str], list[float]] = defaultdict(list)
    for label, pair, value in connection.execute(asked + "WHERE metrics.name = 'test_top1_last'"):
        raw[label, pair].append(value)
    connection.close()
    shown = {(row["row"], row["column"]): float(row["mean"]) for row in csv.DictReader(io.StringIO(text))}
    means = {place: math.fsum(values) / len(values) for place, values in raw.items()}
    return sum(shown.get(place) != mean for place, mean in means.items()) + len(shown.keys() ^ means.keys())


def main(arguments: list[str]) -> None:
    by_verbs = "--verbs" in arguments
    for number in [int(one) for one in arguments if one.isdigit()] or [10_000, 100_000]:
        with tempfile.TemporaryDirectory(prefix="many-runs-") as folder:
            home = Home(Path(folder))
            started = process_time()
            fill(home, number, by_verbs=by_verbs)
            filled = process_time() - started
            rounds = [{name: report(home, asked) for name, asked in ASKED.items()} for _ in range(3)]
            told = {name: [one[name] for one in rounds] for name in ASKED}
            runs = [one for each in told.values() for one in each]
            found = {
                "runs": number,
                "fill_seconds": round(filled, 1),
                "cpu": {name: round(min(one.cpu for one in each), 2) for name, each in told.items()},
                "wall": {name: round(min(one.wall for one in each), 2) for name, each in told.items()},
                "peak_mib": round(max(one.mib for one in runs)),
                "torch": any(one.torch for one in runs),
                "wrong_means": wrong(home, told["csv"][0].text),
            }
            sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
