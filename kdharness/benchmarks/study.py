"""`bench study`: a whole study in two command lines, from a cold home to the report, against the plain loop.

Both sides have the teacher as a file, as one downloads it: random weights with calibrated batch norms, which decide
nothing about the time. The harness imports it first; what that takes is printed too, and counted in a ratio of its own.
The plain loop is one process that trains the same runs one after another, tests after every epoch and saves the
student's weights; the harness does that and all it does besides, its mirror to MLflow included where that is installed.

CPU time is that of all processes, the plain loop computing in one thread, as every job of the harness does. For the
wall time the harness has a job on every core, and the plain loop as many threads. The plain loop trains every method
with the first seed, and two runs with all threads; as its runs have nothing in common, the others are reckoned at the
same pace.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import torch

from kdharness.benchmarks.images import NAME, small
from kdharness.benchmarks.machine import described
from kdharness.benchmarks.measuring import CPU, WALL, Figure
from kdharness.benchmarks.report import Bar, Report
from kdharness.benchmarks.runs import EIGHT, PLAIN, study_text, teacher_weights, wanted
from kdharness.core.errors import EnvironmentRefused
from kdharness.runtime.slots import usable_cores

PLUGIN = small.__module__
PAIR, QUICK_PAIR = "resnet32x4 -> resnet8x4", "resnet8 -> resnet8"
TEACHER_FILE = "teacher.pt"
TIMED_ON_ALL_CORES = 2
"""Runs of the plain loop that are timed with as many threads as there are cores."""
ABOUT = (
    "A study of eight methods and two seeds, two epochs of 640 synthetic images with 256 to test, "
    "resnet32x4 -> resnet8x4, batch 64: `kdharness run` and `kdharness report` in a cold home against one process of "
    "the plain loop. Once each, one after the other."
)


@dataclass(frozen=True)
class Spent:
    """Seconds of a process and all its children."""

    cpu: float
    wall: float

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.cpu + other.cpu, self.wall + other.wall)


def run(*, quick: bool = False, say: Callable[[str], None] = lambda _: None) -> Report:
    """Measure on this machine's CPU. Raises EnvironmentRefused where a command fails, with what it said."""
    pair, rows, epochs, seeds = (QUICK_PAIR, PLAIN, 1, 1) if quick else (PAIR, EIGHT, 2, 2)
    with described("cpu", 1) as machine, TemporaryDirectory(prefix="kdharness-bench-") as name:
        folder = Path(name)
        text = study_text(pair, rows, dataset=NAME, epochs=epochs, seeds=seeds)
        (folder / "bench.yaml").write_text(text)
        teacher = pair.partition(" -> ")[0]
        torch.save(dict(teacher_weights(teacher, small(folder))), folder / TEACHER_FILE)
        runs = len(wanted(text))
        say(f"the harness, {runs} runs")
        imported = _harness(folder, "teachers", "import", TEACHER_FILE, "--model", teacher, "--dataset", NAME)
        ours = _harness(folder, "run", "bench.yaml") + _harness(folder, "report", "bench")
        alone, together = runs // seeds, min(runs, TIMED_ON_ALL_CORES)
        say(f"the plain loop, {alone} of {runs} runs")
        plain = _plain(folder, runs, timed=alone, threads=1)
        several = _plain(folder, runs, timed=together, threads=usable_cores())
    row = f"{runs} runs" if runs > 1 else "1 run"
    figures = [
        Figure(CPU, row, "plain loop, 1 thread", "s", (plain.cpu,)),
        Figure(CPU, row, "run + report", "s", (ours.cpu,)),
        Figure(CPU, row, "ratio", "x", (plain.cpu / ours.cpu,)),
        Figure(CPU, row, "import before", "s", (imported.cpu,)),
        Figure(CPU, row, "ratio with import", "x", (plain.cpu / (ours + imported).cpu,)),
        Figure(WALL, row, f"plain loop, {usable_cores()} threads", "s", (several.wall,)),
        Figure(WALL, row, f"run + report, {usable_cores()} jobs", "s", (ours.wall,)),
        Figure(WALL, row, "ratio", "x", (several.wall / ours.wall,)),
    ]
    bars = [] if quick else [Bar("C6", f"a study of {runs} runs, {CPU}", 2.0, "x", plain.cpu / ours.cpu, 3.0)]
    notes = [
        f"the plain loop's CPU time is reckoned from {alone} of its {runs} runs, its wall time from {together}",
        "no GPU is used: the study trains on the CPU",
    ]
    return Report("study", ABOUT, machine, figures, bars, notes, quick)


def _harness(folder: Path, *words: str) -> Spent:
    """What a command line of the harness takes."""
    command = (sys.executable, "-P", "-m", "kdharness", f"--plugin={PLUGIN}", *words, "--home", str(folder / "home"))
    return _spent(command, folder, {})[0]


def _plain(folder: Path, runs: int, *, timed: int, threads: int) -> Spent:
    """What the plain loop takes for all runs: its start and `timed` runs as measured, the others as these."""
    command = (sys.executable, "-P", "-m", "kdharness.benchmarks.plain_loop", "bench.yaml", TEACHER_FILE, str(timed))
    spent, output = _spent(command, folder, {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"})
    trained, others = [json.loads(line) for line in output.splitlines()], runs / timed - 1
    return spent + Spent(*(others * sum(one[clock] for one in trained) for clock in ("cpu", "wall")))


def _spent(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[Spent, str]:
    """Seconds of the command with all its children, and what it printed; no GPU is shown to it."""
    whole = {**os.environ, **environment, "CUDA_VISIBLE_DEVICES": ""}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    done = subprocess.run(command, cwd=folder, env=whole, capture_output=True, text=True, check=False)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter() - began
    if done.returncode:
        raise EnvironmentRefused(
            f"exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}", where=" ".join(command)
        )
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(cpu, wall), done.stdout
