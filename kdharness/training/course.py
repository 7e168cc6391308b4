"""One run on its way: where it stands in its phases and epochs, what it has summed up, and what is sealed."""

from collections.abc import Hashable, Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kdharness.core.errors import BadInput
from kdharness.core.streams import seeded
from kdharness.core.types import Model, Outputs
from kdharness.distillers.sums import method
from kdharness.evaluation.accuracy import Accuracy, evaluate
from kdharness.training.data import Data, Point
from kdharness.training.inputs import Inputs, dtype_of
from kdharness.training.members import Diverged, EpochEnd, Finished, Member
from kdharness.training.sharing import Round, Teachers, fresh
from kdharness.training.step import TrainingRun
from kdharness.training.sums import Sums
from kdharness.training.weights import weights_sha256

FORMAT = 1
"""Of the state in a checkpoint."""


@dataclass(frozen=True)
class Cursor:
    """What comes next: step `step` (from 0) of epoch `epoch` (from 1) of phase number `phase`.

    The main training counts as the last phase.
    """

    phase: int
    epoch: int
    step: int


@dataclass(frozen=True)
class Meal:
    """What a course's next step is fed."""

    inputs: Inputs
    answer: Outputs | None
    """Of its frozen teacher."""


class Course:
    """A member from its first step to its last. All that must survive an interruption is in `end().state`."""

    def __init__(self, member: Member, data: Data, teachers: Teachers) -> None:
        """Build the member's networks, or those it had where it resumes. Raises whatever its method's code raises."""
        self.run_id, self.setting, self.seed = member.run_id, member.setting, member.seed
        self._data = data
        recipe, images = self.setting.recipe, len(data.train(self.setting.validation).labels)
        self._steps = images // recipe.batch_size if recipe.drop_last else -(-images // recipe.batch_size)
        if not self._steps:
            raise BadInput(f"drop_last leaves no batch of {recipe.batch_size} in {images} images", where=self.run_id)
        self._images = min(images, self._steps * recipe.batch_size)
        self._split = "val" if self.setting.validation else "test"
        self._run = training_run(member, data, teachers)
        self._main = len(self._run.phases)
        needs, teacher = self._run.needs, self._run.teacher
        self._tabled = teachers.tabled(teacher, needs, recipe.teacher_image_size) if teacher is not None else None

        self.cursor = Cursor(0, 1, 0)
        self._sums = Sums(data.device)
        self._seconds = 0.0
        self._last: dict[str, float] = {}
        self._evaluated: dict[str, list[tuple[int, float]]] = {}
        if member.resume is not None:
            self._load(member.resume)

    @property
    def place(self) -> tuple[int, int]:
        """Epoch and step that its next batch is drawn for: phases lie before epoch 1."""
        return self._run.draw_epoch, self.cursor.step

    @property
    def done(self) -> bool:
        """Every epoch is behind it."""
        return self.cursor.phase == self._main and self.cursor.epoch > self.setting.recipe.epochs

    @property
    def kind(self) -> Hashable:
        """Steps of one kind, on inputs of one shape, are the same operations on the device."""
        first = self.cursor.step == 0 and bool(self.setting.recipe.record)
        return self.cursor.phase, self._run.active, first

    def tensors(self) -> list[Tensor]:
        """All that a step changes."""
        return [*self._run.tensors(), *self._sums.tensors]

    def reseed(self, seed: int) -> None:
        """Of the generators, instead of the step's own."""
        self._run.seed_generators(seed)

    @property
    def seed_now(self) -> int:
        """Of the generators, in the next step."""
        return self._run.step_seed(self.cursor.step)

    def fed(self, shared: Round) -> Meal:
        """What the next step is trained on."""
        run, cursor = self._run, self.cursor
        point = Point.of(self.setting, self.seed, run.draw_epoch, cursor.step)
        second = point.second(self.setting.recipe) if run.needs.views == 2 else None
        inputs = shared.inputs(point, second)
        frozen, size = None if run.own_teacher else run.teacher, self.setting.recipe.teacher_image_size
        answer = shared.answer(frozen, point, second, inputs, size, self._tabled) if frozen is not None else None
        return Meal(inputs, answer)

    def prepare(self, meal: Meal) -> None:
        """What the step needs of the host before its `work`."""
        cursor = self.cursor
        step = (cursor.epoch - 1) * self._steps + cursor.step
        self._run.prepare(meal.inputs, meal.answer, cursor.step, step)

    def work(self, meal: Meal) -> None:
        """The step, all of it on the device, and what it adds to the epoch's sums."""
        stepped = self._run.work(meal.inputs, meal.answer, first=self.cursor.step == 0)
        self._sums.add(stepped, len(meal.inputs.labels), self._images)

    @property
    def ends_epoch(self) -> bool:
        """Whether the step that it takes now is its epoch's last."""
        return self.cursor.step + 1 == self._steps

    @property
    def summed(self) -> tuple[str, ...]:
        """What this epoch's steps have added to."""
        return self._sums.names

    def count(self, summed: tuple[str, ...]) -> None:
        """A replayed step has added to these."""
        self._sums.count(summed)

    def passed(self, seconds: float) -> EpochEnd | None:
        """The step is taken; at an epoch's end evaluate and give the point to go on from. Raises Diverged."""
        self._seconds += seconds
        self.cursor = replace(self.cursor, step=self.cursor.step + 1)
        return self._end_epoch() if self.cursor.step == self._steps else None

    def end(self, metrics: Mapping[str, float] | None = None) -> EpochEnd:
        """Where it stands now."""
        past = sum(phase.epochs for phase in self._run.phases[: self.cursor.phase]) + self.cursor.epoch - 1
        state = {
            "format": FORMAT,
            "setting_key": self.setting.key,
            "seed": self.seed,
            "cursor": list(astuple(self.cursor)),
            "sums": {name: value.clone() for name, value in self._sums.values.items()},
            "seconds": self._seconds,
            "last": dict(self._last),
            "evaluated": {name: list(values) for name, values in self._evaluated.items()},
            "run": self._run.state(),
        }
        epochs = self.cursor.epoch - 1 if self.cursor.phase == self._main else 0
        return EpochEnd(epochs, past * self._steps + self.cursor.step, metrics or {}, state)

    def finish(self) -> Finished:
        """Open what was sealed; for a course that is done."""
        accuracy = self._evaluate()
        metrics = {**self._last, **{f"{name}_last": values[-1][1] for name, values in self._evaluated.items()}}
        metrics[f"{self._split}_top1_best"] = max(value for _, value in self._evaluated[f"{self._split}_top1"])
        weights = {key: value.cpu().contiguous() for key, value in self._run.student.state_dict().items()}
        search = self._split == "val"
        return Finished(
            metrics=metrics,
            sealed={} if search else self._evaluated,
            weights=weights,
            weights_sha256=weights_sha256(weights),
            predictions=None if search else (accuracy.predicted, accuracy.confidence),
        )

    def _end_epoch(self) -> EpochEnd:
        """Read the sums, evaluate, and enter what comes next."""
        cursor, phase = self.cursor, self._run.phase
        metrics = self._read()
        if phase is None:
            accuracy = self._evaluate()
            scores = {"top1": accuracy.top1, "top5": accuracy.top5, "loss": accuracy.loss}
            for name, value in scores.items():
                self._evaluated.setdefault(f"{self._split}_{name}", []).append((cursor.epoch, value))
            if self._split == "val":
                metrics |= {f"val_{name}": value for name, value in scores.items()}
            self._last = {
                "train_loss_last": metrics["train_loss"],
                "train_top1_last": metrics["train_top1"],
                "train_seconds": self._last.get("train_seconds", 0.0) + self._seconds,
            }
        self._sums.reset()
        self._seconds = 0.0
        if phase is not None and cursor.epoch == phase.epochs:
            self.cursor = Cursor(cursor.phase + 1, 1, 0)
        else:
            self.cursor = Cursor(cursor.phase, cursor.epoch + 1, 0)
        if not self.done:
            self._run.begin(self.cursor.phase, self.cursor.epoch)
        return self.end(metrics if phase is None else {})

    def _read(self) -> dict[str, float]:
        """The epoch's means: the one moment at which a step's results are waited for. Raises Diverged."""
        sums, run = self._sums.values, self._run
        moving = [value for value in run.student.state_dict().values() if value.is_floating_point()]
        sound = torch.stack([value.isfinite().all() for value in moving]).all()
        *read, finite = torch.stack([*(value.double() for value in sums.values()), sound.double()]).tolist()
        means = dict(zip(sums, (value / self._images for value in read), strict=True))
        when = f"epoch {self.cursor.epoch}" + (f" of phase {run.phase.name}" if run.phase is not None else "")
        if not -float("inf") < means["loss"] < float("inf"):
            raise Diverged(f"the training loss of {when} is {means['loss']}")
        if not finite:
            raise Diverged(f"a weight of the student is not finite after {when}")
        means["top1"] *= 100
        return {f"train_{name}": mean for name, mean in means.items()} | {
            "lr": run.lr,
            "train_seconds": self._seconds,
        }

    def _evaluate(self) -> Accuracy:
        """Score the student; the networks stay in eval mode until the run begins an epoch."""
        recipe = self.setting.recipe
        self._run.eval_mode()
        return evaluate(
            self._run.predict,
            self._data.evaluation(self.setting.validation, recipe.image_size),
            self._data.normalization(recipe.normalization),
            device=self._data.device,
            dtype=dtype_of(recipe.precision),
            layout=self._data.layout,
        )

    def _load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`. Raises BadInput where it is not of this run or of another version's form."""
        for what, value in (("format", FORMAT), ("setting_key", self.setting.key), ("seed", self.seed)):
            if state.get(what) != value:
                raise BadInput(
                    f"the checkpoint is of another run: its {what} is {state.get(what)!r}, not {value!r}",
                    where=f"run {self.run_id}",
                )
        self.cursor = Cursor(*state["cursor"])
        epochs = self.setting.recipe.epochs if self.cursor.phase == self._main else self.cursor.epoch
        self._run.begin(self.cursor.phase, min(self.cursor.epoch, epochs))
        self._run.load(state["run"])
        self._sums.load(state["sums"])
        self._seconds = state["seconds"]
        self._last = dict(state["last"])
        self._evaluated = {
            name: [(epoch, value) for epoch, value in values] for name, values in state["evaluated"].items()
        }


def training_run(member: Member, data: Data, teachers: Teachers) -> TrainingRun:
    """The member's networks at their start. Raises UnknownName, BadInput and what the method's `build` raises."""
    setting = member.setting
    kind = method(setting.distiller)
    distiller = kind(kind.Config.model_validate(dict(setting.constants)))
    needs = distiller.needs
    given = len(setting.teachers), len(member.teacher_weights)
    several = max(1, given[0]) if needs.teacher == "weights" else int(needs.teacher == "architecture")
    trained = several if needs.teacher == "weights" and setting.control != "untrained" else 0
    if given != (several, trained):
        raise BadInput(
            f"{setting.distiller} needs {several} teachers, {trained} with weights; "
            f"given are {given[0]} and {given[1]}",
            where=f"run {member.run_id}",
        )
    recipe = setting.recipe
    teacher_size = recipe.teacher_image_size or recipe.image_size
    with seeded("student", member.seed):
        student = fresh(setting.student, data, recipe.image_size)
    if data.execution.compile:
        student.compile()
    teacher: Model | None = None
    if needs.teacher == "weights":
        teacher = teachers.get(setting.teachers, member.teacher_weights, recipe.precision, teacher_size)
    elif needs.teacher == "architecture":
        with seeded("peer", member.seed):
            teacher = fresh(setting.teachers[0].model, data, teacher_size)
    context = data.context(setting.validation, needs.train_labels, recipe.image_size)
    return TrainingRun(
        student,
        teacher,
        distiller,
        recipe,
        context,
        seed=member.seed,
        device=data.device,
        shuffled_teacher=setting.control == "shuffled",
        grad_matched=setting.grad_matched,
    )
