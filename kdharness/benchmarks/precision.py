"""`bench precision`: what bf16 and torch.compile bring, network by network, on this device.

bf16 slows the depthwise convolutions of some networks on a CPU and speeds others up twofold, so it is a choice per
network and device. A step is the harness's own (cross-entropy, SGD) on a batch of 64, a forward that of a teacher.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from kdharness.benchmarks.machine import described
from kdharness.benchmarks.measuring import Clock, Figure, Reading, alternate, ratios, times
from kdharness.benchmarks.report import Report
from kdharness.benchmarks.sides import in_a_job
from kdharness.benchmarks.step import PAIRS
from kdharness.core.records import Execution, Precision, Recipe
from kdharness.core.streams import seeded
from kdharness.datasets.synthetic import Synthetic
from kdharness.distillers.none import NoDistillation
from kdharness.models.naming import model_name
from kdharness.training.compiling import without_compiler
from kdharness.training.data import Data, Point
from kdharness.training.frozen import frozen_forward
from kdharness.training.inputs import Inputs
from kdharness.training.sharing import fresh
from kdharness.training.step import TrainingRun

WORK: tuple[tuple[str, str], ...] = (
    *((pair.partition(" -> ")[2], "step") for pair in PAIRS),
    *((name, "forward") for name in dict.fromkeys(pair.partition(" -> ")[0] for pair in PAIRS)),
)
"""Students train, teachers answer."""
ROUNDS, QUICK_ROUNDS = 7, 2
FIRST = "fp32"
EAGER: Mapping[str, Precision] = {FIRST: "tf32", "bf16": "bf16"}
"""A column's name -> the recipe's precision; tf32 on a GPU is what the field trains in, on a CPU it is fp32."""
COMPILED: Mapping[str, Precision] = {"compiled": "tf32", "bf16 compiled": "bf16"}
ABOUT = (
    "One training step of the students and one forward of the teachers, batch 64, 32x32 pixels, channels last. In "
    "turns; medians (interquartile range); ratios to fp32 eager."
)


def run(
    models: Iterable[str] = (),
    *,
    device: str = "cpu",
    threads: int = 1,
    compiled: bool = True,
    quick: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Measure the networks of the six pairs, or those named, both ways. Raises UnknownName."""
    named = [model_name(name, "cifar100") for name in models]
    works = [(name, work) for name in named for work in ("step", "forward")] or list(WORK[:1] if quick else WORK)
    missing = without_compiler(device) if compiled else "it was not asked for"
    rounds, execution = QUICK_ROUNDS if quick else ROUNDS, Execution(device=device, threads=threads)
    figures: list[Figure] = []
    notes = [f"torch.compile was not measured: {missing}"] if missing else []
    with described(device, threads) as machine:
        for name, work in works:
            say(f"{name}, {work}")
            arguments = (name, work, execution, rounds, not missing)
            found, why = in_a_job(measured, *arguments, device=device, threads=threads)
            figures += found
            notes += [f"{name} was not compiled: {why}"] if why else []
    notes += [] if device != "cpu" else ["no GPU: nothing was measured on one"]
    return Report("precision", ABOUT, machine, figures, notes=notes, quick=quick)


def measured(name: str, work: str, execution: Execution, rounds: int, compiled: bool) -> tuple[list[Figure], str]:
    """The row of one network, and why it could not be compiled."""
    torch.set_num_threads(execution.threads)
    clock, why = Clock(execution.device), ""
    with TemporaryDirectory(prefix="kdharness-bench-") as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # a cold one: what it takes to compile is measured, too
        data = Data(Synthetic(Path(folder), train_size=640), execution)
        sides = {label: _side(name, work, data, precision) for label, precision in EAGER.items()}
        compiling: dict[str, Reading] = {}
        if compiled and work == "step":
            for label, precision in COMPILED.items():
                side = _side(name, work, data, precision, compiled=True)
                try:
                    compiling[label] = clock.time(side)
                except Exception as error:  # noqa: BLE001  a compiler may fail in any way; eager figures are worth having
                    why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                    break
                sides[label] = side
        found = alternate(sides, rounds, clock)
    row = f"{name}, {work}"
    figures: list[Figure] = []
    for label, readings in found.items():
        figures += times(row, label, readings)
        if label != FIRST:
            figures += ratios(row, f"{label}, ratio", found[FIRST], readings)
    for label, reading in compiling.items():
        figures += times(row, f"{label}, to compile", [reading], unit="s")
    return figures, why


def _side(name: str, work: str, data: Data, precision: Precision, *, compiled: bool = False) -> Callable[[], object]:
    """One step or forward at each call."""
    recipe = Recipe(epochs=1, batch_size=64, lr=0.01, augment="crop4-flip", precision=precision)
    point = Point(0.0, recipe.augment, precision, recipe.batch_size, 0, 1, 0)
    inputs: Inputs = data.inputs(point)
    with seeded("student", 0):
        network = fresh(name, data)
    if work == "forward":
        network.to(data.device).eval().requires_grad_(False)
        return lambda: frozen_forward(network, inputs.images, precision)
    alone = NoDistillation(NoDistillation.Config())
    if compiled:
        network.compile()
    training = TrainingRun(network, None, alone, recipe, data.context(0.0, False), device=data.device)
    return lambda: training.step(inputs, None, 0, 0)
