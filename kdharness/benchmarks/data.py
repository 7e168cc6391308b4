"""`bench data`: training images per second of one core, batches of 64: the harness's gather against PIL's pictures."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch

from kdharness.benchmarks.machine import described
from kdharness.benchmarks.measuring import CPU, Figure, Reading, ratios
from kdharness.benchmarks.plain_loop import train_loader
from kdharness.benchmarks.report import Bar, Report
from kdharness.benchmarks.runs import PLAIN, study_text, wanted
from kdharness.benchmarks.sides import Side, Turn, harness_environment, plain_environment, take_turns
from kdharness.core.records import Execution
from kdharness.datasets.synthetic import Synthetic
from kdharness.training.data import Data, Point

BATCH = 64
ROUNDS, QUICK_ROUNDS = 15, 3
PLAIN_BATCHES, OUR_BATCHES = 20, 200
"""Of a round: about 0.1 s each."""
ABOUT = (
    "Images per second of one core in batches of 64, with RandomCrop(32, padding=4), flips and normalisation: the "
    "harness's vectorised gather of resident bytes (order, draws and labels included) against torch's DataLoader of "
    "PIL pictures through torchvision's transforms, without workers. In turns; medians (interquartile range)."
)


def run(
    *, device: str = "cpu", threads: int = 1, quick: bool = False, say: Callable[[str], None] = lambda _: None
) -> Report:
    """Measure both, synthetic images in the form of CIFAR-100."""
    images, rounds = (5_000, QUICK_ROUNDS) if quick else (50_000, ROUNDS)
    execution = Execution(device=device, threads=threads)
    say(f"batches of {images:,} images")
    with (
        described(device, threads) as machine,
        Side(plain_side, images, threads, device=device, environment=plain_environment(threads)) as plain,
        Side(harness_side, images, execution, device=device, environment=harness_environment(device, threads)) as ours,
    ):
        slow, fast = take_turns([plain, ours], rounds, warming=1)
    figures = [
        *_speeds("PIL pipeline", slow, PLAIN_BATCHES),
        *_speeds("harness", fast, OUR_BATCHES),
        *ratios("harness", "ratio", slow, fast, times=OUR_BATCHES / PLAIN_BATCHES),
    ]
    ratio = next(figure.median for figure in figures if figure.table == CPU and figure.unit == "x")
    bars = [Bar("D2", "images per second of a core, eager", 6.0, "x", ratio)]
    notes = [] if device != "cpu" else ["no GPU: nothing was measured on one"]
    return Report("data", ABOUT, machine, figures, bars, notes, quick)


def plain_side(turn: Turn, images: int, threads: int) -> None:
    """PIL's pictures: a round is some batches."""
    torch.set_num_threads(threads)
    dataset = Synthetic(Path(), train_size=images)
    loader = train_loader(dataset.split("train"), dataset.normalization)
    batches = (batch for _ in count() for batch in loader)
    while turn.next_round():
        for _ in range(PLAIN_BATCHES):
            next(batches)


def harness_side(turn: Turn, images: int, execution: Execution) -> None:
    """The gather of resident images: a round is some batches."""
    torch.set_num_threads(execution.threads)
    data = Data(Synthetic(Path(), train_size=images), execution)
    setting = wanted(study_text("resnet8 -> resnet8", PLAIN))[0].setting
    epoch = -(-images // BATCH)
    points = (Point.of(setting, 0, 1 + step // epoch, step % epoch) for step in count())
    while turn.next_round():
        for _ in range(OUR_BATCHES):
            data.inputs(next(points))


def _speeds(row: str, readings: list[Reading], batches: int) -> list[Figure]:
    return [
        Figure(clock, row, "images/s", "/s", tuple(batches * BATCH / one.by_clock[clock] for one in readings))
        for clock in readings[0].by_clock
    ]
