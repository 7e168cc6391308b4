"""What the harness costs beside networks, losses and optimizer: per step (H1) and per epoch (H2).

H1 is a difference. One run with a warm table takes turns with a bare loop: the same network, layout, loss and
optimizer, on batches and teacher's answers that were made before. What the run takes longer is the harness's: the
order, the gather of the batch, its crops and normalisation, the look-up, random streams, sums. It does not depend on
how wide a network is, so it is measured where it shows, on ResNet8, which has the layers of ResNet8×4 at a quarter of
the width, and given as a part of the bare step of ResNet8×4.

H2 is timed where it happens: from the loop's question whether a checkpoint is due until the state is copied and the
job's own sink has written, hashed and committed it with an epoch's metrics, as a part of CIFAR-100's epoch of 782
steps. All of it counts, although a thread does most of it while training goes on.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from statistics import median

import torch

from kdharness.benchmarks.cohorts import train_rounds
from kdharness.benchmarks.measuring import CPU, Clock, Figure, Reading, times
from kdharness.benchmarks.report import Bar
from kdharness.benchmarks.runs import PLAIN, Weights, study_text, teacher_weights, wanted
from kdharness.core.home import Home
from kdharness.core.records import Execution, WantedRun
from kdharness.core.streams import seeded
from kdharness.core.types import Batch, Dataset
from kdharness.datasets.synthetic import Synthetic
from kdharness.distillers.sums import method
from kdharness.results.owner import Owner
from kdharness.results.store import Store
from kdharness.runtime.leases import Heartbeat
from kdharness.runtime.signals import Stop
from kdharness.runtime.sink import JobSink
from kdharness.runtime.watchdog import Watchdog
from kdharness.runtime.writer import Writer
from kdharness.training.cohort import train_cohort
from kdharness.training.data import Data, Point
from kdharness.training.frozen import frozen_forward
from kdharness.training.inputs import forward
from kdharness.training.members import EpochEnd, Finished, Member
from kdharness.training.optimizers import optimizer
from kdharness.training.sharing import Teachers, fresh

NARROW, WIDE = "resnet8 -> resnet8", "resnet8 -> resnet8x4"
"""The teachers are never asked."""
BATCHES = 8
TRAIN_SIZE = 12_800
SHORT_STEPS = 12
"""In the time of one of the wide network."""
EPOCH_STEPS = 782
PART = "Besides network, loss and optimizer"
METRICS = {"train_loss": 1.0, "train_top1": 1.0, "train_ce": 1.0, "train_kd": 1.0, "lr": 0.05, "train_seconds": 1.0}
"""What a kd run commits after an epoch."""


def overhead(folder: Path, rounds: int, threads: int) -> tuple[list[Figure], list[Bar]]:
    """H1 and H2 on a CPU."""
    torch.set_num_threads(threads)
    dataset = Synthetic(folder, train_size=TRAIN_SIZE)
    execution = Execution(threads=threads, tables=folder)
    teacher = teacher_weights("resnet8", dataset)
    clock = Clock()

    wide = bare_loop(WIDE, teacher, dataset)
    wide()
    steps = [clock.time(wide) for _ in range(rounds)]
    run = _one_run(NARROW)
    member = Member("overhead", run.setting, 0, (teacher,))
    narrow = bare_loop(NARROW, teacher, dataset)
    many = SHORT_STEPS * rounds
    train_rounds(_InTurn(clock), [member], dataset, execution, rounds=many + 1)  # fills the table
    turn = _InTurn(clock, narrow)
    train_rounds(turn, [member], dataset, execution, rounds=many + 1)
    differences = [ours - bare for ours, bare in zip(turn.ours, turn.theirs, strict=True)]
    saves = _saves(_one_run(WIDE), teacher, dataset, Home(folder / "home"), rounds)

    figures = [
        *times("ResNet8×4, bare step", "", steps, part=PART),
        *times("ResNet8, bare step", "", turn.theirs, part=PART),
        *times("ResNet8, step in the harness", "", turn.ours, part=PART),
        *times("the harness's own part (H1)", "", differences, part=PART),
        *times("a checkpoint with its commit (H2)", "", saves, part=PART),
    ]
    step = median(reading.cpu for reading in steps)
    own = median(reading.cpu for reading in differences)
    epoch = EPOCH_STEPS * median(reading.wall for reading in steps)
    saving = median(reading.wall for reading in saves)
    h1 = Bar("H1", f"harness, of a step ({CPU}, one run alone)", 1.0, "%", 100 * own / step, better="lower")
    h2 = Bar("H2", "checkpoint and log, of an epoch of 782 steps", 1.0, "%", 100 * saving / epoch, better="lower")
    return figures, [h1, h2]


def bare_loop(pair: str, teacher: Weights, dataset: Dataset) -> Callable[[], None]:
    """One step of the pair's kd at each call, by hand: nothing but network, loss and optimizer."""
    setting = _one_run(pair).setting
    data = Data(dataset, Execution(threads=torch.get_num_threads()))
    network = Teachers(data).get(setting.teachers, [teacher], setting.recipe.precision)
    batches = [data.inputs(Point.of(setting, 0, 1, position)) for position in range(BATCHES)]
    answers = [frozen_forward(network, inputs.images, setting.recipe.precision) for inputs in batches]
    with seeded("student", 0):
        student = fresh(setting.student, data).train()
    kind = method(setting.distiller)
    distiller = kind(kind.Config.model_validate(dict(setting.constants)))
    weights, update = distiller.weights(1), optimizer(setting.recipe, student.named_parameters())
    prepared = cycle(list(zip(batches, answers, strict=True)))

    def step() -> None:
        inputs, answer = next(prepared)
        batch = Batch(
            images=inputs.images,
            labels=inputs.labels,
            index=inputs.index,
            epoch=torch.tensor(1),
            step=torch.tensor(0),
            generator=torch.default_generator,
            second_view=None,
            active=frozenset(weights),
        )
        update.zero_grad()
        terms = distiller.losses(forward(student, inputs.images, setting.recipe.precision), answer, batch)
        loss = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        update.step(setting.recipe.lr)

    return step


class _InTurn:
    """A turn that is the other side's work, in the same process; the first round is not counted."""

    def __init__(self, clock: Clock, other: Callable[[], object] = lambda: None) -> None:
        self._clock, self._other = clock, other
        self._began: Reading | None = None
        self.ours: list[Reading] = []
        self.theirs: list[Reading] = []

    def next_round(self) -> bool:
        now = self._clock.now()
        other = self._clock.time(self._other)
        if self._began is not None:
            self.ours.append(now - self._began)
            self.theirs.append(other)
        self._began = self._clock.now()
        return True


class _Saves:
    """Training's Sink that has a job's own sink keep every step, and times each time."""

    def __init__(self, job: JobSink, writer: Writer, count: int) -> None:
        self._job, self._writer, self._count = job, writer, count
        self._clock = Clock()
        self._began = self._clock.now()
        self.readings: list[Reading] = []

    def checkpoint_due(self, run_id: str) -> bool:
        self._began = self._clock.now()
        return True

    def epoch_end(self, run_id: str, end: EpochEnd) -> None:
        if len(self.readings) <= self._count:
            self._job.epoch_end(run_id, replace(end, epoch=len(self.readings) + 1, metrics=METRICS))
            self._writer.settle()
            self.readings.append(self._clock.now() - self._began)

    def stop_requested(self) -> bool:
        return len(self.readings) > self._count

    def finished(self, run_id: str, result: Finished) -> None: ...

    def failed(self, run_id: str, error: Exception) -> None:
        raise error


def _saves(run: WantedRun, teacher: Weights, dataset: Dataset, home: Home, count: int) -> list[Reading]:
    """What checkpoints of a run in a job take, the first of them not counted."""
    store = Store(home, create=True)
    store.save_study("bench", "study: bench\n", [run], path="bench.yaml", spec={})
    leases = store.claim([run.run_id], Owner.current(), slot="cpu:0")
    assert leases is not None
    with Heartbeat(store, leases) as heartbeat, Watchdog(lambda _: None) as watchdog, Writer() as writer:
        sink = _Saves(JobSink(home, store, leases, heartbeat, watchdog, Stop(), writer), writer, count)
        train_cohort([Member(run.run_id, run.setting, run.seed, (teacher,))], dataset, Execution(), sink)
    store.close()
    return sink.readings[1:]


def _one_run(pair: str) -> WantedRun:
    return wanted(study_text(pair, PLAIN))[0]
