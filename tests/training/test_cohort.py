"""The loop: who is told what and when, and that neighbours change nothing."""

from collections.abc import Iterator

import pytest
import torch
from toys import RECIPE, Recorder, Toy, ToyData, member, result, setting, teacher_weights, train

from kdharness.core.errors import LeaseLost
from kdharness.core.records import Execution, Setting
from kdharness.core.types import Outputs
from kdharness.training import frozen
from kdharness.training.cohort import Diverged, Finished
from kdharness.training.data import Data, Point
from kdharness.training.sharing import Teachers

ALL = ("alone", "taught", "everything", "mutual")


@pytest.mark.parametrize("order", [ALL, ALL[::-1]], ids=["forth", "back"])
def test_neighbours_change_nothing(order: tuple[str, ...]) -> None:
    members = [member(setting(name), seed, f"{name}-{seed}") for name in order for seed in (0, 1)]
    together = train(*members)
    assert not together.errors
    for name in order:
        assert together.results[f"{name}-1"].weights_sha256 == result(setting(name), 1).weights_sha256
        assert together.results[f"{name}-1"].sealed == result(setting(name), 1).sealed


def test_members_at_one_point_share_batches_and_the_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    forward = frozen.frozen_forward

    def counted(model: Toy, images: torch.Tensor, precision: str) -> Outputs:
        asked.append(len(images))
        return forward(model, images, precision)  # type: ignore[arg-type]

    monkeypatch.setattr(frozen, "frozen_forward", counted)
    weights = [0.5, 1.0, 2.0]
    train(*(member(setting("taught", kd_weight=weight), 0, f"{weight}") for weight in weights))
    assert asked == [8, 8, 4] * 2  # not three times as many
    asked.clear()
    train(*(member(setting("taught"), seed, f"{seed}") for seed in range(3)))
    assert len(asked) == 3 * 6  # other seeds see other batches


def test_members_that_are_ahead_wait_and_then_share_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = train(member(setting("taught")), sink=Recorder(stop_after=2)).ends["run"][-1].state
    made: list[Point] = []
    images = Data.images
    monkeypatch.setattr(Data, "images", lambda self, point: made.append(point) or images(self, point))
    sink = train(member(setting("alone"), 0, "phaseless"), member(setting("mutual"), 0, "with a phase of one epoch"))
    assert [(point.epoch, point.position) for point in made] == [(epoch, n) for epoch in (0, 1, 2) for n in range(3)]
    assert sink.results["phaseless"].weights_sha256 == result(setting("alone")).weights_sha256
    made.clear()
    sink = train(member(setting("taught"), 0, "ahead", stopped), member(setting("taught", kd_weight=0.5), 0, "behind"))
    assert len(made) == 6
    assert sink.results["ahead"].weights_sha256 == result(setting("taught")).weights_sha256


def test_a_shared_teacher_answers_each_view() -> None:
    data = Data(ToyData(), Execution())
    teachers = Teachers(data)
    teacher = teachers.get(setting("taught").teachers, [teacher_weights()], "tf32")
    shared, point = teachers.round(), Point.of(setting("taught"), 0, 1, 0)
    for second in (point.second(RECIPE), None):  # the second member wants less than the first has computed
        inputs = shared.inputs(point, second)
        answer = shared.answer(teacher, point, second, inputs)
        assert torch.equal(answer.logits, frozen.frozen_forward(teacher, inputs.images, "tf32").logits)
        assert (answer.second is None) == (inputs.second_view is None) == (second is None)
        if inputs.second_view is not None and answer.second is not None:
            other = frozen.frozen_forward(teacher, inputs.second_view, "tf32").logits
            assert torch.equal(answer.second.logits, other)
            assert not torch.equal(other, answer.logits)


def test_a_seed_is_a_student_and_its_batches_whatever_the_method() -> None:
    recipe = RECIPE.model_copy(update={"lr": 1e-12})
    students = {name: result(setting(name, recipe=recipe)).weights["conv0.weight"] for name in ("alone", "taught")}
    assert torch.allclose(students["alone"], students["taught"], atol=1e-9)
    other = result(setting("alone", recipe=recipe), 1).weights["conv0.weight"]
    assert not torch.allclose(students["alone"], other, atol=1e-3)
    means = [result(setting(name, recipe=recipe)).weights["bn0.running_mean"] for name in ("alone", "taught")]
    assert torch.allclose(*means, atol=1e-9)  # the same images in the same order


def test_nothing_of_the_test_split_is_shown_before_the_end() -> None:
    sink = train(member(setting("taught")))
    for end in sink.ends["run"]:
        assert not [name for name in end.metrics if not name.startswith(("train_", "lr"))]
    final = sink.results["run"]
    assert {"test_top1_last", "test_top1_best", "test_top5_last", "test_loss_last"} <= final.metrics.keys()
    assert [epoch for epoch, _ in final.sealed["test_top1"]] == [1, 2]
    assert final.metrics["test_top1_last"] == final.sealed["test_top1"][-1][1]
    assert final.metrics["test_top1_best"] == max(value for _, value in final.sealed["test_top1"])
    assert final.predictions is not None
    predicted, confidence = final.predictions
    assert (predicted.dtype, confidence.dtype, len(predicted)) == (torch.int64, torch.float16, 9)


def test_a_search_run_has_validation_metrics_and_no_others() -> None:
    sink = train(member(setting("everything", validation=0.25)))
    assert {"val_top1", "val_top5", "val_loss", "train_loss", "train_hint", "lr"} <= sink.ends["run"][-1].metrics.keys()
    final = sink.results["run"]
    assert final.sealed == {}
    assert final.predictions is None
    assert {"val_top1_last", "val_top1_best"} <= final.metrics.keys()
    assert not [name for name in final.metrics if name.startswith("test")]


def test_train_metrics_are_means_over_the_epochs_images() -> None:
    metrics = train(member(setting("taught"))).ends["run"][0].metrics
    assert metrics["train_loss"] == pytest.approx(metrics["train_ce"] + metrics["train_kd"], rel=1e-6)
    assert 0 <= metrics["train_top1"] <= 100
    assert round(metrics["train_top1"] * 20 / 100, 9) % 1 == 0
    assert (metrics["lr"], metrics["train_seconds"] > 0) == (0.01, True)


def test_learning_rate_drops_after_its_milestone() -> None:
    ends = train(member(setting("alone"))).ends["run"]
    assert [end.metrics["lr"] for end in ends] == [0.01, pytest.approx(0.001)]


@pytest.mark.parametrize(("name", "error"), [("broken", RuntimeError), ("alone", Diverged)])
def test_a_failing_member_leaves_the_others_alone(name: str, error: type[Exception]) -> None:
    sink = train(member(setting(name, explode=True), 0, "bad"), member(setting("taught"), 0, "good"))
    assert isinstance(sink.errors["bad"], error)
    assert sink.results["good"].weights_sha256 == result(setting("taught")).weights_sha256
    assert "bad" not in sink.results


def test_divergence_is_named_with_its_epoch() -> None:
    sink = train(member(setting("alone", explode=True)))
    assert "epoch 1" in str(sink.errors["run"])
    assert not sink.ends


def test_weights_that_are_not_finite_are_divergence_too() -> None:
    recipe = RECIPE.model_copy(update={"lr": 1e38, "weight_decay": 1e10, "batch_size": 20, "epochs": 1})
    sink = train(member(setting("alone", recipe=recipe)))
    assert isinstance(sink.errors.get("run"), Diverged)


def test_a_wrong_member_fails_and_is_told() -> None:
    good = setting("taught")
    wrong: Setting = good.model_copy(update={"teachers": ()})
    sink = train(member(wrong, 0, "bad"), member(good, 0, "good"))
    assert "needs 1 teachers" in str(sink.errors["bad"])
    assert "good" in sink.results


def test_a_lost_lease_drops_its_member_only() -> None:
    sink = Recorder()
    sink.lost.add("lost")
    train(member(setting("taught"), 0, "lost"), member(setting("taught"), 1, "kept"), sink=sink)
    assert set(sink.results) == {"kept"}
    assert not sink.errors


def test_what_else_a_sink_raises_reaches_the_caller() -> None:
    class Full(Recorder):
        def checkpoint_due(self, run_id: str) -> bool:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        train(member(setting("taught")), sink=Full())


def test_stop_hands_over_every_member() -> None:
    class Lost(Recorder):
        def stop_requested(self) -> bool:
            if super().stop_requested():
                self.lost.add("b")
                return True
            return False

    sink = Lost(stop_after=4)
    train(*(member(setting("taught"), 0, name) for name in "abc"), sink=sink)
    assert {name: ends[-1].step for name, ends in sink.ends.items()} == {"a": 2, "c": 1}
    assert not sink.results


def test_a_lease_lost_at_the_end_is_no_error() -> None:
    class Late(Recorder):
        def finished(self, run_id: str, result: Finished) -> None:
            raise LeaseLost("too late")

    sink = train(member(setting("taught")), sink=Late())
    assert not sink.errors


@pytest.fixture
def _reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every way in which Python reads a tensor's value, noted."""
    seen: list[str] = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy"):
        original = getattr(torch.Tensor, name)

        def noted(tensor: torch.Tensor, *args: object, _name: str = name, _original: object = original) -> object:
            seen.append(_name)
            return _original(tensor, *args)  # type: ignore[operator]

        monkeypatch.setattr(torch.Tensor, name, noted)
    yield seen


def test_no_value_is_read_between_the_ends_of_epochs(_reads: list[str]) -> None:
    class Quiet(Recorder):
        def stop_requested(self) -> bool:
            reads.append(len(_reads))
            return super().stop_requested()

    weights = teacher_weights()
    reads: list[int] = []
    train(member(setting("taught")), sink=Quiet())
    assert len(weights) > 0
    assert reads[1] == reads[0]  # the second step of an epoch reads nothing
    assert reads[2] - reads[1] <= 4  # the third ends it: means, test scores
