"""Who answers as the teacher (an ensemble, a shuffled, an untrained one), sums of methods, matched gradients."""

import pytest
import torch
from test_step import batch, one_view, run_of
from toys import Toy, ToyData, member, result, setting, teacher_weights, train

from kdharness.core.errors import BadInput
from kdharness.core.records import Execution, Setting, Teacher
from kdharness.core.types import Outputs
from kdharness.distillers.sums import method
from kdharness.models.ensemble import Ensemble
from kdharness.training.data import Data
from kdharness.training.inputs import of_next_image
from kdharness.training.members import Member
from kdharness.training.sharing import Teachers


def changed(**changes: object) -> Setting:
    return setting("taught").model_copy(update=changes)


def teachers(number: int) -> tuple[Teacher, ...]:
    return tuple(Teacher(model="toy6", revision=1, weights_sha256=str(index)) for index in range(number))


def other_weights() -> dict[str, torch.Tensor]:
    return {key: value * 0.5 if value.is_floating_point() else value for key, value in teacher_weights().items()}


def test_an_ensemble_is_the_mean_of_raw_logits() -> None:
    first, second = Toy(6, 3, (2, 5, 5)), Toy(4, 3, (2, 5, 5))
    images = torch.randn(4, 2, 5, 5)
    outputs = Ensemble([first, second]).eval()(images)
    torch.testing.assert_close(outputs.logits, (first(images).logits + second(images).logits) / 2)
    assert outputs.pooled.shape == (4, 10) and not outputs.stages


def test_an_ensemble_of_equal_teachers_is_that_teacher() -> None:
    alone = member(changed(teachers=teachers(1)), run_id="alone")
    both = Member("both", changed(teachers=teachers(2)), 0, (teacher_weights(), teacher_weights()))
    alone = Member("alone", alone.setting, 0, (teacher_weights(),))
    other = Member("other", changed(teachers=teachers(2)), 0, (teacher_weights(), other_weights()))
    sinks = [train(one).results[one.run_id].weights_sha256 for one in (alone, both, other)]
    assert sinks[0] == sinks[1] != sinks[2]


def test_members_share_an_ensemble() -> None:
    pool = Teachers(Data(ToyData(), Execution()))
    weights = [teacher_weights(), other_weights()]
    assert pool.get(teachers(2), weights, "tf32") is pool.get(teachers(2), weights, "tf32")
    assert pool.get(teachers(2), weights, "tf32") is not pool.get(teachers(1), weights[:1], "tf32")


def test_a_shuffled_teacher_answers_for_the_next_image() -> None:
    logits = torch.arange(6.0).reshape(3, 2)
    rolled = of_next_image(Outputs(logits, logits, {"stem": logits}, second=Outputs(logits + 1, logits)))
    assert rolled.second is not None
    assert rolled.logits.tolist() == rolled.stages["stem"].tolist() == [[2, 3], [4, 5], [0, 1]]
    assert rolled.second.logits.tolist() == [[3, 4], [5, 6], [1, 2]]
    assert result(changed(control="shuffled")).weights_sha256 != result(setting("taught")).weights_sha256


def test_an_untrained_teacher_is_the_same_in_every_run() -> None:
    pool = Teachers(Data(ToyData(), Execution()))
    first, again = (pool._untrained(teachers(1)[0], None) for _ in range(2))
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in first.state_dict().items())
    plain = Teacher(model="toy6", revision=1)
    untrained = result(changed(control="untrained", teachers=(plain,)))
    assert untrained.weights_sha256 != result(setting("taught")).weights_sha256


def test_a_trained_teacher_without_its_weights_is_refused() -> None:
    sink = train(Member("run", setting("taught"), 0))
    assert "needs 1 teachers, 1 with weights; given are 1 and 0" in str(sink.errors["run"])


@pytest.mark.parametrize("kd_weight", [9.0, 0.0])
def test_matched_gradients_divide_the_loss_by_the_sum_of_its_weights(kd_weight: float) -> None:
    made = method("taught")
    steps = []
    for matched in (False, True):
        run = run_of(made(made.Config(kd_weight=kd_weight)), precision="fp64")
        run.grad_matched = matched
        run.begin(0, 1)
        steps.append(run.step(one_view(batch(dtype=torch.float64)), None, 0, 0).loss)
    torch.testing.assert_close(steps[1] * (1 + kd_weight), steps[0])


def test_a_sum_trains_what_its_members_train() -> None:
    taught = setting("taught")
    config = method("taught + alone").Config
    together = taught.model_copy(
        update={
            "distiller": "alone + taught",
            "constants": config().model_dump() | {"ce_weight": 1.0},
        }
    )
    assert result(together).weights_sha256 == result(taught).weights_sha256  # `alone` adds nothing but its own ce
    metrics = train(member(together)).ends["run"][0].metrics
    assert {"train_ce", "train_taught_kd"} <= metrics.keys() and "train_kd" not in metrics


def test_the_order_of_a_sum_means_nothing() -> None:
    assert method("alone + taught") is method("taught+ALONE")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("everything + taught", "everything answers in the student's place"),
        ("mutual + taught", "mutual trains a second student"),
        ("taught + taught", "a method stands twice"),
    ],
)
def test_what_has_no_place_in_a_sum(name: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        method(name)
