"""One step: modes, gradients that are absent, phases, the seam's fine print."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from toys import RECIPE, Everything, Mutual, Taught, Toy, ToyMethod, teacher_weights

from kdharness.core.records import Precision
from kdharness.core.types import Batch, BuildContext, Distiller, Needs, NetworkView, Outputs, Phase
from kdharness.training import step as stepping
from kdharness.training.frozen import frozen_forward
from kdharness.training.inputs import Inputs, forward
from kdharness.training.step import TrainingRun

CONTEXT = BuildContext(3, 20, (2, 5, 5), torch.arange(20) % 3)


def run_of(distiller: Distiller, precision: Precision = "tf32", **fields: Any) -> TrainingRun:
    torch.manual_seed(0)
    student, teacher = Toy(4, 3, (2, 5, 5)), Toy(6, 3, (2, 5, 5))
    teacher.load_state_dict(teacher_weights())
    recipe = RECIPE.model_copy(update={"precision": precision, **fields})
    context = CONTEXT if distiller.needs.train_labels else BuildContext(3, 20, (2, 5, 5))
    return TrainingRun(student, teacher if distiller.needs.teacher != "none" else None, distiller, recipe, context)


def batch(rows: int = 8, dtype: torch.dtype = torch.float32) -> Inputs:
    generator = torch.Generator().manual_seed(1)
    images, second = (torch.randn(rows, 2, 5, 5, generator=generator).to(dtype) for _ in range(2))
    index = torch.arange(rows)
    return Inputs(images, index % 3, index, second)


def one_view(inputs: Inputs) -> Inputs:
    return Inputs(inputs.images, inputs.labels, inputs.index)


class OnlyClassifier(ToyMethod):
    """Its loss reaches nothing but the classifier."""

    @property
    def needs(self) -> Needs:
        return Needs(teacher="none", teacher_pooled=True)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        self.student = student
        return nn.Linear(2, 2)

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        logits = F.linear(teacher.pooled, self.student.classifier.weight)
        return {"ce": F.cross_entropy(logits, batch.labels), "zero": self.student.classifier.bias.sum()}

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": 1.0, "zero": 0.0}


def test_an_absent_gradient_stays_absent_and_a_zero_one_decays() -> None:
    run = run_of(OnlyClassifier(OnlyClassifier.Config()), weight_decay=0.1)
    before = {key: value.clone() for key, value in run.student.named_parameters()}
    adapter = run.adapters.weight.clone()  # type: ignore[operator, union-attr]
    for step in range(2):
        run.step(one_view(batch()), None, step, step)
    after = dict(run.student.named_parameters())
    assert [key for key in before if not torch.equal(before[key], after[key])] == ["fc.weight", "fc.bias"]
    assert after["conv0.weight"].grad is None
    assert torch.equal(run.adapters.weight, adapter)  # type: ignore[arg-type]
    bias_grad = after["fc.bias"].grad
    assert bias_grad is not None
    assert not bias_grad.any()


class FirstEpochOnly(OnlyClassifier):
    """From its second epoch on its loss reaches the bias alone."""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        bias = self.student.classifier.bias.sum()
        return {"ce": F.cross_entropy(student.logits, batch.labels) if batch.epoch == 1 else 0 * bias, "zero": bias}


def test_a_gradient_that_is_absent_from_now_on_stops_the_parameter_with_its_momentum() -> None:
    run = run_of(FirstEpochOnly(FirstEpochOnly.Config()))
    run.step(one_view(batch()), None, 0, 0)
    before = {key: value.clone() for key, value in run.student.named_parameters()}
    run.begin(0, 2)
    run.step(one_view(batch()), None, 0, 1)
    after = dict(run.student.named_parameters())
    assert [key for key in before if not torch.equal(before[key], after[key])] == ["fc.bias"]


def test_a_frozen_teacher_does_not_move_and_one_in_train_mode_moves_as_a_copy() -> None:
    frozen = run_of(Taught(Taught.Config()))
    frozen.step(one_view(batch()), None, 0, 0)
    assert frozen.teacher is not None
    assert all(torch.equal(value, teacher_weights()[key]) for key, value in frozen.teacher.state_dict().items())
    assert not frozen.teacher.training

    student, given = Toy(4, 3, (2, 5, 5)), Toy(6, 3, (2, 5, 5))
    run = TrainingRun(student, given, Everything(Everything.Config()), RECIPE, CONTEXT)
    before = given.state_dict()["bn0.running_mean"].clone()
    run.step(batch(), None, 0, 0)
    assert torch.equal(given.state_dict()["bn0.running_mean"], before)
    assert run.teacher is not None
    assert not torch.equal(run.teacher.state_dict()["bn0.running_mean"], before)
    assert torch.equal(run.teacher.state_dict()["conv0.weight"], given.state_dict()["conv0.weight"])


def test_phases_train_what_they_name_in_the_mode_they_name() -> None:
    run = run_of(Everything(Everything.Config()))
    assert [phase.name for phase in run.phases] == ["connectors", "stem"]

    def moved(inputs: Inputs) -> set[str]:
        learners = {"student": run.student, "adapters": run.adapters}
        before = {
            f"{name}.{key}": value.clone()
            for name, each in learners.items()
            for key, value in each.state_dict().items()
        }
        run.step(inputs, None, 0, 0)
        after = {f"{name}.{key}": value for name, each in learners.items() for key, value in each.state_dict().items()}
        return {key for key in before if not torch.equal(before[key], after[key])}

    regressor = {f"adapters.regressor.{key}" for key in run.adapters.regressor.state_dict()}  # type: ignore[union-attr, operator]
    assert (run.lr, run.draw_epoch) == (0.05, -2)
    assert moved(batch()) == regressor  # batch norms of the student in eval mode: nothing else moves
    assert run.student.conv1.weight.grad is None  # type: ignore[union-attr]  # nor is its gradient computed
    run.begin(1, 2)
    assert (run.lr, run.draw_epoch) == (0.01, 0)
    stem = {f"student.{key}" for key in run.student.state_dict() if key.startswith(("conv0", "bn0"))}
    statistics = {f"student.bn1.{key}" for key in ("running_mean", "running_var", "num_batches_tracked")}
    assert moved(batch()) == regressor | stem | statistics
    run.begin(2, 1)
    assert (run.lr, run.draw_epoch) == (0.01, 1)
    assert {"student.fc.weight", "student.conv1.weight", "adapters.bank"} <= moved(batch())
    assert all(parameter.requires_grad for parameter in run.student.parameters())
    assert "adapters.margin" not in moved(batch())


def test_two_views_run_weak_then_strong() -> None:
    run = run_of(Everything(Everything.Config()))
    run.begin(2, 1)
    norm, seen = run.student.conv0, []
    inputs = batch()
    run.prepare(inputs, None, 0, 0)
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))  # type: ignore[operator, union-attr]
    run.work(inputs, None, first=True)
    assert torch.equal(seen[0], inputs.images)
    assert inputs.second_view is not None
    assert torch.equal(seen[1], inputs.second_view)
    assert len(seen) == 2


def test_draws_come_from_the_step_alone() -> None:
    outcomes = []
    for noise in (0, 3):
        run = run_of(Everything(Everything.Config()))
        run.begin(2, 1)
        torch.manual_seed(noise)
        torch.rand(noise)
        outcomes.append(run.step(batch(), None, 1, 1).loss)
    assert torch.equal(*outcomes)
    other = run_of(Everything(Everything.Config()))
    other.begin(2, 1)
    assert not torch.equal(outcomes[0], other.step(batch(), None, 2, 1).loss)


def test_a_peer_learns_with_the_roles_exchanged() -> None:
    run = run_of(Mutual(Mutual.Config()))
    assert run.peer is not None
    before = run.peer.conv0.weight.clone()  # type: ignore[operator, union-attr]
    run.step(one_view(batch()), None, 0, 0)
    assert torch.equal(run.peer.conv0.weight, before)  # type: ignore[arg-type]  # a phase leaves it alone
    run.begin(1, 1)
    inputs = one_view(batch())
    stepped = run.step(inputs, None, 0, 0)
    assert not torch.equal(run.peer.conv0.weight, before)  # type: ignore[arg-type]
    assert stepped.loss == pytest.approx(float(stepped.terms["ce"] + 0.5 * stepped.terms["kd"]))


def test_gradients_of_single_terms_are_recorded_at_an_epochs_first_step() -> None:
    run = run_of(Taught(Taught.Config()), record=("gradients",))
    first, second = (run.step(one_view(batch()), None, position, position) for position in (0, 1))
    assert first.gradients.keys() == {"ce", "kd"}
    assert not second.gradients
    assert first.gradient is not None
    assert second.gradient is not None
    assert run_of(Taught(Taught.Config())).step(one_view(batch()), None, 0, 0).gradient is None


class Doubtful(Taught):
    """With terms of weight 0 that the student, an adapter and a batch norm would notice."""

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        self.asked: list[frozenset[str]] = []
        self.adapter = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3))
        return self.adapter

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        self.asked.append(batch.active)
        return batch.terms(
            {
                "classifier": lambda: self.adapter(student.logits).square().mean(),
                "hint": lambda: F.mse_loss(student.pooled.mean(1), teacher.logits.mean(1)),
            }
        )

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"classifier": float(self.config.kd_weight), "hint": 1.0}


class Wasteful(Doubtful):
    """Computes them all the same."""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return super().losses(student, teacher, replace(batch, active=frozenset()))


@pytest.mark.parametrize("method", [Doubtful, Wasteful])
def test_a_term_of_weight_0_is_not_computed_and_leaves_zeros(method: type[Doubtful]) -> None:
    run = run_of(method(method.Config(kd_weight=0.0)), weight_decay=0.1)
    before = {key: value.clone() for key, value in (*run.student.named_parameters(), *run.adapters.named_parameters())}
    for step in range(2):
        assert run.step(one_view(batch()), None, step, step).terms.keys() == {"hint"}
    if method is Doubtful:
        assert run.distiller.asked == [{"classifier", "hint"}, {"hint"}, {"hint"}]  # type: ignore[attr-defined]
        assert run.adapters[0].num_batches_tracked == 0  # type: ignore[index]
    after = dict((*run.student.named_parameters(), *run.adapters.named_parameters()))
    for key in ("fc.weight", "fc.bias", "1.weight", "0.weight"):
        assert after[key].grad is not None and not after[key].grad.any(), key
        decayed = before[key] * 0.999 * 0.999 - 0.01 * 0.9 * 0.1 * before[key]
        assert torch.allclose(after[key], decayed, rtol=1e-5), key  # lr 0.01, decay 0.1, momentum 0.9


def test_inactive_terms_are_named_as_such() -> None:
    run = run_of(Everything(Everything.Config()))
    run.begin(2, 1)
    assert "late" not in run.step(batch(), None, 0, 0).terms
    run.begin(2, 2)
    assert "late" in run.step(batch(), None, 0, 3).terms


def test_tails_are_for_those_who_ask() -> None:
    class Curious(Taught):
        def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
            student.forward_from("stem", torch.zeros(1, 4, 5, 5))
            return nn.Module()

    with pytest.raises(RuntimeError, match="tails=True"):
        run_of(Curious(Curious.Config()))


class Contradiction(Taught):
    @property
    def needs(self) -> Needs:
        return Needs(peer=True)


class Nameless(Taught):
    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": 1.0}


class TrainsNothing(Taught):
    def phases(self) -> Sequence[Phase]:
        return (Phase("idle", 1, [nn.Linear(1, 1)], 0.1, lambda *_: {}),)


@pytest.mark.parametrize(
    ("method", "message"),
    [(Contradiction, "contradict"), (Nameless, "does not name: kd"), (TrainsNothing, "'idle' names nothing")],
)
def test_mistakes_of_a_method_are_named(method: type[Taught], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_of(method(method.Config())).step(one_view(batch()), None, 0, 0)


@pytest.mark.parametrize("precision", ["tf32", "fp32", "bf16", "fp64"])
def test_every_precision_takes_a_step(precision: Precision) -> None:
    run = run_of(Everything(Everything.Config()), precision)
    run.begin(2, 1)
    stepped = run.step(batch(dtype=run.dtype), None, 0, 0)
    assert stepped.loss.dtype == run.dtype == (torch.float64 if precision == "fp64" else torch.float32)
    run.eval_mode()
    assert run.predict(batch(3, run.dtype).images).dtype == run.dtype


def test_under_bf16_only_what_is_read_is_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = Toy(4, 3, (2, 5, 5)), batch().images
    whole = forward(network, images, "bf16")
    read = forward(network, images, "bf16", ("stage1",))
    assert list(read.stages) == ["stage1"] and len(whole.stages) > 1
    assert read.stages["stage1"].dtype is read.logits.dtype is torch.float32
    assert read.stages["stage1"].equal(whole.stages["stage1"]) and read.logits.equal(whole.logits)
    run, inputs = run_of(Taught(Taught.Config()), "bf16"), one_view(batch())
    run.begin(0, 1)
    asked: list[object] = []
    monkeypatch.setattr(stepping, "forward", lambda *given: asked.append(given[3:]) or forward(*given))
    run.step(inputs, forward(run.teacher or network, images, "bf16"), 0, 0)
    run.eval_mode()
    run.predict(images)
    assert asked == [((),), ((),)]


def test_small_batches_of_a_teacher_are_padded() -> None:
    teacher = Toy(6, 3, (2, 5, 5)).eval()
    rows: list[int] = []
    teacher.conv0.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    images = torch.randn(5, 2, 5, 5).contiguous(memory_format=torch.channels_last)
    outputs = frozen_forward(teacher, images, "tf32")
    assert rows == [16]
    assert outputs.logits.shape == (5, 3)
    assert outputs.stages["stem"].shape == (5, 6, 5, 5)
    full = frozen_forward(teacher, torch.cat([images] * 4), "tf32")
    assert torch.equal(outputs.logits, full.logits[:5])
    assert rows == [16, 20]


def test_a_teacher_in_train_mode_sees_the_batch_as_it_is() -> None:
    run = run_of(Everything(Everything.Config()))
    run.begin(2, 1)
    assert run.teacher is not None and run.teacher.training
    rows: list[int] = []
    run.teacher.conv0.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    run.step(batch(5, run.dtype), None, 0, 0)
    assert rows[:2] == [5, 5]  # both views; repeats would enter the batch statistics


def test_the_teachers_pooled_features_are_for_those_who_ask() -> None:
    class Curious(Taught):
        def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
            return {**super().losses(student, teacher, batch), "kd": teacher.pooled.mean()}

    run = run_of(Curious(Curious.Config()))
    for shared in (None, Outputs(torch.zeros(8, 3), torch.zeros(8, 6))):
        with pytest.raises(RuntimeError, match=r"needs\.teacher_pooled"):
            run.step(one_view(batch()), shared, 0, 0)
