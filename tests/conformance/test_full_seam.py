"""The checks themselves work on methods that use the parts of the seam which no shipped method needs yet."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Needs, NetworkView, Outputs, Phase
from kdharness.testing import check_distiller


class Everything(Distiller):
    """`L = ce + bank + tail + noise`: two views, a tail, a memory bank, noise, train labels and a phase."""

    class Config(DistillerConfig):
        ce_weight: Annotated[float, Field(ge=0, le=10, description="Weight of the cross-entropy.")] = 1.0

    paper = "None: made for this test."
    revision = 1
    order_matters = "noise is drawn row by row"

    @property
    def needs(self) -> Needs:
        stages = ("stage3.preact",)
        return Needs(
            stages=stages,
            teacher_stages=stages,
            teacher_pooled=True,
            tails=True,
            views=2,
            train_labels=True,
            random=True,
        )

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        assert context.train_labels is not None and len(context.train_labels) == context.train_size
        self.teacher = teacher
        self.adapter = nn.Linear(student.shapes["pooled"][0], teacher.shapes["pooled"][0], bias=False)
        self.adapter.register_buffer("bank", torch.zeros(context.train_size, *teacher.shapes["pooled"]))
        self.student_layers = student.layers["stage1"]
        return self.adapter

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        assert student.second is not None and teacher.second is not None and batch.second_view is not None
        noise = torch.rand(student.pooled.shape, generator=batch.generator, dtype=student.pooled.dtype)
        guess = self.adapter(student.pooled.to(self.adapter.weight.dtype))
        tail = self.teacher.forward_from("stage3.preact", student.stages["stage3.preact"].to(guess.dtype))
        return {
            "ce": F.cross_entropy(student.logits.to(guess.dtype), batch.labels)
            + F.cross_entropy(student.second.logits.to(guess.dtype), batch.labels),
            "bank": F.mse_loss(guess, self.adapter.bank[batch.index]),
            "tail": F.mse_loss(tail.pooled, teacher.pooled.to(guess.dtype)),
            "noise": (student.pooled * noise).mean(),
        }

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "bank": 0.5, "tail": 1.0, "noise": 0.1}

    def predict(self, student: Outputs, teacher: Outputs) -> Tensor:
        return self.teacher.forward_from("pooled", self.adapter(student.pooled)).logits

    def phases(self) -> Sequence[Phase]:
        def hint(student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
            return {"hint": F.mse_loss(student.stages["stage3.preact"], teacher.stages["stage3.preact"])}

        return (Phase("hint", 3, self.student_layers, 0.1, hint),)

    def after_step(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        self.adapter.bank[batch.index] = 0.5 * self.adapter.bank[batch.index] + teacher.pooled


class Peers(Everything):
    """`L = ce + kl`: two students that learn from each other."""

    order_matters = ""

    @property
    def needs(self) -> Needs:
        return Needs(teacher="architecture", peer=True)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        assert context.train_labels is None
        return nn.Module()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        log, target = F.log_softmax(student.logits.double(), 1), F.log_softmax(teacher.logits.double(), 1)
        return {
            "ce": F.nll_loss(log, batch.labels),
            "kl": F.kl_div(log, target, reduction="batchmean", log_target=True),
        }

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "kl": 1.0}

    def predict(self, student: Outputs, teacher: Outputs) -> Tensor:
        return student.logits

    def phases(self) -> Sequence[Phase]:
        return ()

    def after_step(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        return None


class TrainTeacher(Peers):
    """`L = ce + kl` with the teacher on batch statistics."""

    @property
    def needs(self) -> Needs:
        return Needs(teacher_mode="train")


def test_everything() -> None:
    check_distiller(Everything)


def test_peers() -> None:
    check_distiller(Peers, zero_at_equal=("kl",))


def test_a_teacher_in_train_mode() -> None:
    check_distiller(TrainTeacher)


class ForgottenBank(Everything):
    """`L = ce + bank`: the bank is no buffer."""

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        adapter = super().build(student, teacher, context)
        bank = adapter.bank.double()
        del adapter.bank
        adapter.bank = bank
        return adapter


class IdlePhase(Everything):
    """`L = ce`: a phase that trains the classifier by a loss in front of it."""

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        adapter = super().build(student, teacher, context)
        self.student_layers = student.layers["classifier"]
        return adapter


@pytest.mark.parametrize(("broken", "message"), [(ForgottenBank, "after a resume"), (IdlePhase, "trains nothing")])
def test_a_broken_part_is_found(broken: type[Distiller], message: str) -> None:
    with pytest.raises((AssertionError, RuntimeError), match=message):
        check_distiller(broken)
