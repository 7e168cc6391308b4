"""Recorded and replayed, every method trains the student that it trains operation by operation, bit for bit."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import pytest
import torch

from kdharness.core.keys import canonical
from kdharness.core.records import Execution, Recipe, RunKey, Setting, Teacher
from kdharness.core.types import Normalization, Split
from kdharness.distillers.registry import DISTILLERS
from kdharness.distillers.sums import method
from kdharness.models.registry import MODELS
from kdharness.testing.recorder import StrictRecorder
from kdharness.training.cohort import train_cohort
from kdharness.training.course import Course, Meal
from kdharness.training.members import EpochEnd, Finished, Member
from kdharness.training.watching import Watch

RECIPE = Recipe(epochs=3, batch_size=8, lr=0.05, milestones=(2,), augment="shift1")
ALIKE: Mapping[str, Mapping[str, Any]] = {
    **{name: {"init_epochs": 2} for name in ("ab", "ft", "fsp")},
    "crd": {"negatives": 4},
    "dkd": {"warmup": 3},
    "reviewkd": {"warmup": 3},
}
"""Constants with which a short training shows what a long one has."""
NOT_RECORDED = {
    "fcfd": "its operations differ from step to step",  # each step draws which paths are mixed
    "kdsvd": "it waits for the device (_linalg_svd)",  # a GPU's solver tells the host whether it has converged
}


class Images:
    """20 of 10 classes, 8x8."""

    name = fingerprint = "few"
    num_classes, image_shape = 10, (3, 8, 8)
    normalization = Normalization((0.5,) * 3, (0.25,) * 3)
    train_size, test_size = 16, 4
    streamed, recipe, teacher_recipe = False, "", ""

    def split(self, part: Literal["train", "val", "test"], validation: float = 0.0) -> Split:
        noise = torch.Generator().manual_seed(5)
        images = torch.randint(0, 256, (20, 3, 8, 8), generator=noise, dtype=torch.uint8)
        labels = torch.randint(0, 10, (20,), generator=noise)
        rows = slice(0, 16) if part == "train" else slice(16, 20)
        return Split(images[rows], labels[rows], torch.arange(rows.stop - rows.start))


class Told:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.hashes: dict[str, str] = {}
        self.metrics: dict[str, list[Mapping[str, float]]] = {}

    def epoch_end(self, run_id: str, end: EpochEnd) -> None:
        kept = {name: value for name, value in end.metrics.items() if name != "train_seconds"}
        self.metrics.setdefault(run_id, []).append(kept)

    def finished(self, run_id: str, result: Finished) -> None:
        self.hashes[run_id] = result.weights_sha256

    def failed(self, run_id: str, error: Exception) -> None:
        raise error

    def stop_requested(self) -> bool:
        return False

    def checkpoint_due(self, run_id: str) -> bool:
        return False


def member(
    distiller: str,
    run_id: str = "",
    *,
    seed: int = 0,
    teachers: Sequence[str] = ("resnet14",),
    control: str = "trained",
    grad_matched: bool = False,
    constants: Mapping[str, Any] | None = None,
    **recipe: Any,
) -> Member:
    kind = method(distiller)
    config = kind.Config(**(ALIKE.get(distiller, {}) if constants is None else constants))
    needed = kind(config).needs.teacher
    trained = needed == "weights" and control != "untrained"
    run = RunKey(setting_key="f" * 64, seed=0) if trained else None
    setting = Setting(
        dataset="few",
        fingerprint="few",
        student="resnet8",
        student_revision=1,
        teachers=() if needed == "none" else tuple(Teacher(model=name, revision=1, run=run) for name in teachers),
        distiller=distiller,
        distiller_revision=1,
        constants=canonical(config),
        recipe=RECIPE.model_copy(update=recipe),
        control=control,
        grad_matched=grad_matched,
    )
    weights = tuple(_weights(name) for name in teachers) if trained else ()
    return Member(run_id or distiller, setting, seed, weights)


def _weights(name: str) -> Mapping[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return MODELS.get(name).build(10, (3, 8, 8)).state_dict()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictRecorder]:
    """Optimizers read tensors, as on a GPU; a cohort whose execution says so is recorded."""
    recorder = StrictRecorder()
    monkeypatch.setattr("kdharness.training.step.reads_tensors", lambda device: True)
    monkeypatch.setattr("kdharness.training.cohort.recorder_of", lambda device: recorder)
    work = Course.work

    def watched(course: Course, meal: Meal) -> None:
        with Watch():  # whoever looks at operations from Python holds their results: autograd adds in another order
            work(course, meal)

    monkeypatch.setattr(Course, "work", watched)
    yield recorder


def same_bits(members: Sequence[Member]) -> None:
    """Of the cohort recorded, and operation by operation."""
    replayed, single = Told(), Told()
    train_cohort(members, Images(), Execution(), replayed)
    train_cohort(members, Images(), Execution(graphs=False), single)
    for each in members:
        assert replayed.metrics[each.run_id] == single.metrics[each.run_id], each.run_id
        assert replayed.hashes[each.run_id] == single.hashes[each.run_id], each.run_id


@pytest.mark.parametrize(
    "names", [list(DISTILLERS)[n : n + 3] for n in range(0, len(list(DISTILLERS)), 3)], ids="+".join
)
def test_every_method(names: list[str], recorder: StrictRecorder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    same_bits([member(name) for name in names])
    said = {record.run_id: record.getMessage() for record in caplog.records if hasattr(record, "run_id")}
    assert said.keys() == NOT_RECORDED.keys() & set(names)
    assert all(NOT_RECORDED[name] in message for name, message in said.items())
    assert recorder.replayed >= 2 * len(set(names) - NOT_RECORDED.keys())


def test_one_alone(recorder: StrictRecorder) -> None:
    same_bits([member("dkd")])
    assert (recorder.recorded, recorder.replayed) == (2, 2 * 4)  # student and teacher; 2 of 6 steps come first


def test_whatever_a_recipe_or_an_entry_asks_for(recorder: StrictRecorder) -> None:
    same_bits(
        [
            member("kd", "adamw", optimizer="adamw", lr=1e-3, weight_decay=0.05, weight_decay_on="matrices"),
            member("kd", "another seed", seed=1),
            member("kd", "shuffled", control="shuffled"),
            member("kd", "untrained", control="untrained"),
            member("dkd", "matched", grad_matched=True),
            member("kd", "ensemble", teachers=("resnet14", "resnet8")),
            member("dkd", "recorded", record=("gradients",)),
            member("kd + crd", "sum", constants={"crd": {"negatives": 4}}),
            member("kd", "nesterov", nesterov=True, weight_decay_on="matrices", schedule="cosine", milestones=()),
            member("kd", "inactive", constants={"kd_weight": 0.0}),
            member("kd", "short batch", batch_size=5),
        ]
    )
    assert recorder.replayed > 11 * 2
