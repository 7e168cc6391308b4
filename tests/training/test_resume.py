"""A run interrupted at any step ends as if it had not been: bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from toys import RECIPE, Recorder, Toy, member, result, setting, teacher_weights, train

from kdharness.core.errors import BadInput
from kdharness.core.records import Setting
from kdharness.training import checkpoint
from kdharness.training.cohort import Finished

STEPS = {"everything": 3 * (3 + 2), "mutual": 3 * (1 + 2), "taught": 3 * 2}  # of 20 images in batches of 8


def same(one: Finished, other: Finished) -> bool:
    """Weights, sealed values, metrics and predictions; seconds are the clock's."""
    metrics = [{key: value for key, value in each.metrics.items() if "seconds" not in key} for each in (one, other)]
    assert one.predictions is not None
    assert other.predictions is not None
    return (
        one.weights_sha256 == other.weights_sha256
        and metrics[0] == metrics[1]
        and one.sealed == other.sealed
        and all(torch.equal(a, b) for a, b in zip(one.predictions, other.predictions, strict=True))
    )


def interrupted(of: Setting, step: int, folder: Path) -> Any:
    """The state of a run stopped after `step` steps, through a file."""
    stopped = train(member(of), sink=Recorder(stop_after=step))
    last = stopped.ends["run"][-1]
    assert not stopped.errors
    return checkpoint.read(folder / "c", checkpoint.write(folder / "c", last.state))


@pytest.mark.parametrize("distiller", STEPS)
def test_stopped_at_every_step(distiller: str, tmp_path: Path) -> None:
    of = setting(distiller)
    whole = result(of)
    for step in range(1, STEPS[distiller]):
        resumed = train(member(of, resume=interrupted(of, step, tmp_path)))
        assert not resumed.errors, resumed.errors
        assert same(resumed.results["run"], whole), f"stopped after step {step}"


def test_the_last_checkpoint_needs_no_more_training(tmp_path: Path) -> None:
    of = setting("everything")
    sink = train(member(of))
    sha256 = checkpoint.write(tmp_path / "c", sink.ends["run"][-1].state)
    resumed = train(member(of, resume=checkpoint.read(tmp_path / "c", sha256)))
    assert same(resumed.results["run"], sink.results["run"])
    assert not resumed.ends


def test_interrupted_again_and_again(tmp_path: Path) -> None:
    of = setting("everything")
    state = None
    for _ in range(STEPS["everything"] - 1):
        sink = train(member(of, resume=state), sink=Recorder(stop_after=1))
        state = checkpoint.read(tmp_path / "c", checkpoint.write(tmp_path / "c", sink.ends["run"][-1].state))
    assert same(train(member(of, resume=state)).results["run"], result(of))


def test_a_state_is_not_moved_by_later_steps() -> None:
    of = setting("everything")
    sink = train(member(of), sink=Recorder(due=True))
    early = sink.ends["run"][0]
    assert early.metrics == {}
    assert (early.epoch, early.step) == (0, 1)  # in a phase
    assert same(train(member(of, resume=early.state)).results["run"], sink.results["run"])


def test_what_the_points_say_of_themselves() -> None:
    sink = train(member(setting("mutual")), sink=Recorder(due=True))
    said = [(end.epoch, end.step, bool(end.metrics)) for end in sink.ends["run"]]
    phase, first = [(0, 1, False), (0, 2, False), (0, 3, False)], [(0, 4, False), (0, 5, False), (1, 6, True)]
    assert said == [*phase, *first, (1, 7, False), (1, 8, False), (2, 9, True)]


def test_a_checkpoint_holds_no_weight_of_the_teacher(tmp_path: Path) -> None:
    of = setting("everything")  # whose teacher runs in train mode: its batch statistics move
    state = interrupted(of, 4, tmp_path)
    weights = {name for name, _ in Toy(6, 3, (2, 5, 5)).named_parameters()}
    assert state["run"]["teacher"] and not weights & state["run"]["teacher"].keys()
    state["run"]["teacher"] |= {name: value for name, value in teacher_weights().items() if name in weights}
    assert same(train(member(of, resume=state)).results["run"], result(of)), "as earlier versions kept it"


@pytest.mark.parametrize(
    ("other", "seed"), [(setting("taught", kd_weight=2.0), 0), (setting("taught"), 1)], ids=["setting", "seed"]
)
def test_a_checkpoint_of_another_run_is_refused(other: Setting, seed: int) -> None:
    state = train(member(setting("taught")), sink=Recorder(stop_after=2)).ends["run"][-1].state
    sink = train(member(other, seed, resume=state))
    assert isinstance(sink.errors["run"], BadInput)
    assert "another run" in str(sink.errors["run"])


def test_epochs_of_a_longer_recipe_go_on(tmp_path: Path) -> None:
    """The cursor counts epochs of the recipe: one epoch more is another setting, but begins with the same steps."""
    longer = setting("taught", recipe=RECIPE.model_copy(update={"epochs": 3, "milestones": ()}))
    short = setting("taught", recipe=RECIPE.model_copy(update={"epochs": 2, "milestones": ()}))
    ends, more = train(member(short)).ends["run"], train(member(longer)).ends["run"]
    assert ends[1].metrics["train_loss"] == more[1].metrics["train_loss"]
    assert len(more) == 3
