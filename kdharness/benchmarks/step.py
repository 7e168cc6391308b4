"""`bench step`: a table of eight runs, one step of batch 64, against eight steps of the plain loop.

Three ways of the harness: *cold*, the teacher asked once for all eight, its answers written to its table; *warm*, the
answers looked up; and *bf16 warm*. They change the time and, within fp32, no bit.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch

from kdharness.benchmarks import gpu
from kdharness.benchmarks.cohorts import train_rounds
from kdharness.benchmarks.machine import described
from kdharness.benchmarks.measuring import CPU, DEVICE, Figure, Reading, ratios, times
from kdharness.benchmarks.overhead import overhead
from kdharness.benchmarks.plain_loop import PlainRun
from kdharness.benchmarks.report import Bar, Report
from kdharness.benchmarks.runs import EIGHT, PLAIN, SIXTEEN, Weights, members, study_text, teacher_weights, wanted
from kdharness.benchmarks.sides import Side, Turn, harness_environment, in_a_job, plain_environment, take_turns
from kdharness.core.errors import BadInput
from kdharness.core.records import Execution, Precision
from kdharness.core.types import Dataset
from kdharness.datasets.synthetic import Synthetic

PAIRS = (
    "resnet32x4 -> resnet8x4",
    "wrn_40_2 -> wrn_16_2",
    "vgg13 -> vgg8",
    "resnet50_cifar -> mobilenetv2",
    "resnet32x4 -> shufflenetv2",
    "resnet56 -> resnet20",
)
ROUNDS, QUICK_ROUNDS = 7, 2
WARMING = 2
"""Rounds before those that count: the first steps choose kernels, make momentum and try the teacher's table."""
GPU_STEPS = 50
"""Of a round on a GPU, which is waited for at its end only."""
FASTER = "Times as fast as the plain loop"
IMAGES = 12_800
"""200 batches, more than all rounds take."""
ABOUT = (
    "One step of batch 64 of eight runs side by side (kd at T = 1, 2, 4, 8, dkd, kd with logit standardization, "
    "luminet at T = 4, 8), with all that belongs to it, against eight steps of the plain loop (kd). Synthetic images "
    "in the form of CIFAR-100, teachers with random weights. In turns; medians (interquartile range)."
)


@dataclass(frozen=True)
class Way:
    """One way of the harness to the same table of results."""

    name: str
    precision: Precision
    measured: bool = True


WAYS = (Way("cold", "tf32"), Way("warm", "tf32"), Way("bf16 cold", "bf16", measured=False), Way("bf16 warm", "bf16"))
"""Each cold one fills the table that the warm one after it reads. (On a CPU tf32 is fp32.)"""


def run(
    pairs: Iterable[str] = (),
    *,
    device: str = "cpu",
    threads: int = 1,
    quick: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Measure the pairs (all six where none is named). Raises BadInput for a pair that is none, UnknownName."""
    chosen = [_known(pair) for pair in pairs] or list(PAIRS[:1] if quick else PAIRS)
    rounds = QUICK_ROUNDS if quick else ROUNDS
    figures: list[Figure] = []
    notes: list[str] = []
    with described(device, threads) as machine, TemporaryDirectory(prefix="kdharness-bench-") as folder:
        execution = Execution(device=device, threads=threads, tables=Path(folder))
        for pair in chosen:
            say(pair)
            figures += _pair(pair, execution, rounds)
            if device != "cpu":
                notes.append(gpu.said(pair, in_a_job(counted, pair, execution, device=device, threads=threads)))
        bars = _bars(figures, CPU if device == "cpu" else DEVICE)
        say("the harness's own part")
        if device == "cpu":
            found, own = in_a_job(overhead, Path(folder), rounds, threads)
        else:
            found, own = _on_gpu(execution, rounds)
    if device == "cpu":
        notes.append("no GPU: nothing was measured on one, launches and synchronisations were not counted")
    return Report("step", ABOUT, machine, [*figures, *found], [*bars, *own], notes, quick)


def plain_side(turn: Turn, pair: str, device: str, threads: int, steps: int) -> None:
    """The plain loop: a round is so many steps of kd."""
    torch.set_num_threads(threads)
    dataset, run = _images(), wanted(study_text(pair, PLAIN))[0]
    plain = PlainRun(run.setting, run.seed, _teacher(pair, dataset), dataset, device=device)
    while turn.next_round():
        for _ in range(steps):
            plain.next_step()


def harness_side(turn: Turn, texts: list[str], pair: str, execution: Execution, rounds: int, steps: int) -> None:
    """The runs of each study text one after the other, so many rounds each: a round is so many steps of all."""
    dataset = _images()
    teacher = _teacher(pair, dataset)
    turn.next_round()
    for text in texts:
        train_rounds(turn, members(text, teacher), dataset, execution, rounds=rounds, steps=steps)


def counted(pair: str, execution: Execution) -> dict[str, float]:
    """What a warm step of the eight asks of the GPU."""
    dataset, counting = _images(), gpu.Counting(first=WARMING)
    runs = members(study_text(pair), _teacher(pair, dataset))
    train_rounds(counting, runs, dataset, execution, rounds=WARMING + 1, steps=GPU_STEPS)
    return counting.per_step(GPU_STEPS)


def _images() -> Dataset:
    return Synthetic(Path(), train_size=IMAGES)


def _teacher(pair: str, dataset: Dataset) -> Weights:
    return teacher_weights(pair.partition(" -> ")[0], dataset)


def _known(pair: str) -> str:
    """The pair with its networks' listed names."""
    from kdharness.models.naming import model_name

    sides = pair.split("->")
    if len(sides) != 2:
        raise BadInput(f"{pair!r} is no pair", remedy=f"write TEACHER->STUDENT, as {PAIRS[0]!r}")
    return " -> ".join(model_name(side.strip(), "cifar100") for side in sides)


def _pair(pair: str, execution: Execution, rounds: int) -> Iterator[Figure]:
    """The plain loop and every way of the harness, in turns."""
    steps = 1 if execution.device == "cpu" else GPU_STEPS
    texts = [study_text(pair, EIGHT, precision=way.precision) for way in WAYS]
    found: dict[str, tuple[list[Reading], list[Reading]]] = {}
    with _plain(pair, execution, steps) as plain, _harness(texts, pair, execution, rounds, steps) as harness:
        for way in WAYS:
            if way.measured:
                theirs, ours = take_turns([plain, harness], rounds, warming=WARMING)
                found[way.name] = theirs, ours
            else:
                take_turns([harness], rounds, warming=WARMING)
    every = [reading for theirs, _ in found.values() for reading in theirs]
    yield from times(pair, "8 plain steps", every, times=8 / steps)
    for name, (_, ours) in found.items():
        yield from times(pair, name, ours, times=1 / steps)
    for name, (theirs, ours) in found.items():
        yield from ratios(pair, name, theirs, ours, times=8, part=FASTER)


def _plain(pair: str, execution: Execution, steps: int) -> Side:
    device, threads = execution.device, execution.threads
    environment = plain_environment(threads)
    return Side(plain_side, pair, device, threads, steps, device=device, environment=environment)


def _harness(texts: list[str], pair: str, execution: Execution, rounds: int, steps: int) -> Side:
    device = execution.device
    environment, every = harness_environment(device, execution.threads), rounds + WARMING
    return Side(harness_side, texts, pair, execution, every, steps, device=device, environment=environment)


def _bars(figures: list[Figure], clock: str) -> list[Bar]:
    """C1 to C5, of what was measured."""
    value = {(one.row, one.column): one.median for one in figures if one.table == f"{FASTER}: {clock}"}

    def bar(name: str, pair: str, column: str, bound: float, aim: float) -> list[Bar]:
        found = value.get((pair, column))
        return [Bar(name, f"{pair}, {column}", bound, "x", found, aim)] if found is not None else []

    bars = [
        *bar("C1", PAIRS[0], "cold", 2.5, 3.0),
        *bar("C2", PAIRS[0], "warm", 3.0, 3.8),
        *bar("C3", PAIRS[0], "bf16 warm", 5.3, 7.0),
        *bar("C4", PAIRS[3], "warm", 30.0, 40.0),
    ]
    exact = [value[pair, "warm"] for pair in PAIRS if (pair, "warm") in value]
    if len(exact) == len(PAIRS):
        best = [max(ratio, value[pair, "bf16 warm"]) for ratio, pair in zip(exact, PAIRS, strict=True)]
        bars.append(Bar("C5", "six pairs, warm, geometric mean", 4.5, "x", _geometric_mean(exact), 5.5))
        bars.append(Bar("C5", "six pairs, warm, the better precision", 6.5, "x", _geometric_mean(best), 8.0))
    return bars


def _geometric_mean(values: list[float]) -> float:
    return exp(fmean(log(value) for value in values))


def _on_gpu(execution: Execution, rounds: int) -> tuple[list[Figure], list[Bar]]:
    """G1 and G2: one student, and sixteen side by side, with a warm table."""
    pair, figures, bars = PAIRS[0], [], []
    for bar, what, rows, count, bound in (("G1", "one run", PLAIN, 1, 0.5), ("G2", "sixteen runs", SIXTEEN, 16, 0.3)):
        text = study_text(pair, rows)
        with _harness([text, text], pair, execution, rounds, GPU_STEPS) as harness:
            take_turns([harness], rounds, warming=WARMING)  # fills the table
            (warm,) = take_turns([harness], rounds, warming=WARMING)
        found = times(pair, f"{what} warm, per run", warm, times=1 / GPU_STEPS / count)
        figures += found
        bars.append(Bar(bar, f"{pair}, {what} warm, per run and step", bound, "ms", found[0].median, better="lower"))
    return figures, bars
