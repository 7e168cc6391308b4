"""What is recorded, what is refused and why, and whose time it was."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from toys import DISTILLERS, RECIPE, Recorder, Taught, ToyData, member, result, setting, teacher_weights, train

from kdharness.core.records import Execution
from kdharness.core.types import Batch, Outputs
from kdharness.testing.recorder import StrictRecorder
from kdharness.training.cohort import train_cohort
from kdharness.training.data import Data, Point
from kdharness.training.frozen import FrozenForwards, frozen_forward
from kdharness.training.numerics import numerics
from kdharness.training.recording import Replay
from kdharness.training.sharing import Teachers

LONG = RECIPE.model_copy(update={"epochs": 4})


class Waits(Taught):
    """Reads its loss in every step."""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        terms = super().losses(student, teacher, batch)
        return {"ce": terms["ce"], "kd": terms["kd"] * (2.0 if terms["kd"].item() > 1 else 1.0)}


class Chooses(Taught):
    """Lets the host throw a coin."""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        terms = super().losses(student, teacher, batch)
        return {"ce": terms["ce"], "kd": terms["kd"] * float(batch.generator.initial_seed() % 1000)}


class Masks(Taught):
    """Picks rows by a mask, whose number the host must know."""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        right = student.logits.argmax(1) >= 0
        return {
            "ce": F.cross_entropy(student.logits[right], batch.labels[right]),
            "kd": F.mse_loss(student.logits, teacher.logits),
        }


for _method in (Waits, Chooses, Masks):
    DISTILLERS.add(_method.__name__.lower())(_method)


class Fussy(StrictRecorder):
    """Records a number of branches at most, and nothing of those who are named."""

    def __init__(self, most: int = 9, never: Sequence[str] = ()) -> None:
        super().__init__()
        self.most, self.never = most, never

    def record(self, branches: Sequence[Callable[[], None]]) -> Replay:
        names = [branch.func.__self__.run_id for branch in branches if isinstance(branch, partial)]  # else a teacher's
        if len(branches) > self.most or set(names) & set(self.never):
            raise RuntimeError(f"no graph of {', '.join(names)}")
        return super().record(branches)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable[[StrictRecorder], StrictRecorder]:
    """The recorder that cohorts have from now on."""

    def use(recorder: StrictRecorder) -> StrictRecorder:
        monkeypatch.setattr("kdharness.training.step.reads_tensors", lambda device: True)
        monkeypatch.setattr("kdharness.training.cohort.recorder_of", lambda device: recorder)
        return recorder

    return use


def said(caplog: pytest.LogCaptureFixture) -> dict[str, list[str]]:
    """Per run what its log says of its steps."""
    found: dict[str, list[str]] = {}
    for record in caplog.records:
        if hasattr(record, "run_id"):
            found.setdefault(record.run_id, []).append(record.getMessage())
    return found


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("waits", "_local_scalar_dense"),
        ("chooses", "differ from step to step (from mul to mul)"),
        ("masks", "index by a mask"),
    ],
)
def test_who_cannot_be_replayed_is_told_why_once(
    name: str, why: str, recorded: Callable[[StrictRecorder], StrictRecorder], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    recorder = recorded(StrictRecorder())
    sink = train(member(setting(name, recipe=LONG), 0, "odd"), member(setting("taught", recipe=LONG), 0, "good"))
    (only,) = said(caplog)["odd"]
    assert "operation by operation" in only and why in only
    assert "good" not in said(caplog)
    assert recorder.replayed == 2 * ((8 - 2) + (4 - 2))  # its teacher too: whole and short batches, but for two
    for each, method in (("odd", name), ("good", "taught")):
        alone = Recorder()
        train_cohort([member(setting(method, recipe=LONG))], ToyData(), Execution(graphs=False), alone)
        assert alone.results["run"].weights_sha256 == sink.results[each].weights_sha256


def test_a_device_that_refuses_is_left_alone(
    recorded: Callable[[StrictRecorder], StrictRecorder], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    recorder = recorded(Fussy(never=["b"]))
    members = [member(setting("taught", recipe=LONG), 0, name) for name in "abc"]
    sink = train(*members)
    assert {run: len(lines) for run, lines in said(caplog).items()} == {"b": 1}
    assert "recording it fails (RuntimeError: no graph of b)" in said(caplog)["b"][0]
    assert recorder.replayed > 0
    assert len({result.weights_sha256 for result in sink.results.values()}) == 1

    caplog.clear()
    recorder = recorded(Fussy(most=1))
    train(*members)
    assert said(caplog).keys() == set("abc")  # each alone it could, which is not tried for them
    assert recorder.replayed == (8 - 2) + (4 - 2)  # the teacher alone


def test_a_cohort_goes_on_where_a_member_leaves(recorded: Callable[[StrictRecorder], StrictRecorder]) -> None:
    recorder = recorded(StrictRecorder())
    short = LONG.model_copy(update={"epochs": 3})
    sink = train(member(setting("taught", recipe=short), 0, "short"), member(setting("taught", recipe=LONG), 0, "long"))
    assert recorder.replayed > 0
    alone = train(member(setting("taught", recipe=LONG)))
    assert sink.results["long"].weights_sha256 == alone.results["run"].weights_sha256


def test_a_rehearsal_leaves_nothing_behind(recorded: Callable[[StrictRecorder], StrictRecorder]) -> None:
    recorded(Fussy(most=0))
    rehearsed = train(member(setting("everything", recipe=LONG)))
    recorded(None)  # type: ignore[arg-type]
    plain = train(member(setting("everything", recipe=LONG)))
    assert rehearsed.results["run"].weights_sha256 == plain.results["run"].weights_sha256
    assert [end.metrics["train_loss"] for end in rehearsed.ends["run"] if end.metrics] == [
        end.metrics["train_loss"] for end in plain.ends["run"] if end.metrics
    ]


def test_a_run_that_resumes_among_replayed_ones_is_the_same(
    recorded: Callable[[StrictRecorder], StrictRecorder],
) -> None:
    recorded(StrictRecorder())
    of = setting("taught", recipe=LONG)
    stopped = train(member(of), sink=Recorder(stop_after=8)).ends["run"][-1].state
    resumed = train(member(of, 0, "again", stopped), member(of, 1, "other"))
    assert resumed.results["again"].weights_sha256 == train(member(of)).results["run"].weights_sha256


def test_a_cpu_records_nothing_and_says_so() -> None:
    assert numerics(Execution()).graphs is False
    assert result(setting("taught")).weights_sha256 == result(setting("taught")).weights_sha256


def test_what_several_use_costs_each_of_them_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Teachers(Data(ToyData(), Execution())).round()
    now = iter(range(100))
    monkeypatch.setattr("kdharness.training.sharing.perf_counter", lambda: float(next(now)))
    point = Point.of(setting("taught"), 0, 1, 0)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        with shared.for_user(name):
            shared.inputs(Point.of(setting("taught"), seed, 1, 0))
    with shared.for_user("b"):
        shared.inputs(point, point.second(RECIPE))
    assert [shared.seconds(name) for name in "abc"] == [0.5, 1.5, 1.0]
    assert torch.equal(shared.inputs(point).labels, shared.inputs(point).labels)


def test_a_replayed_teacher_writes_to_nothing_that_it_has_given_and_is_left_alone_where_it_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    teacher = Teachers(Data(ToyData(), Execution())).get(setting("taught").teachers, [teacher_weights()], "tf32")
    batches = [torch.rand(4, *ToyData.image_shape) for _ in range(5)]
    expected = [frozen_forward(teacher, images, "tf32") for images in batches]
    for recorder, replayed in ((StrictRecorder(), 3), (Fussy(most=0), 0)):
        forward = FrozenForwards(torch.device("cpu"), recorder)
        answers = [forward(teacher, images, "tf32") for images in batches]
        assert all(torch.equal(one.logits, other.logits) for one, other in zip(answers, expected, strict=True))
        assert recorder.replayed == replayed
    (said,) = caplog.messages
    assert "the teacher's forward passes" in said and "no graph of" in said
