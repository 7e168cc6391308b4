"""Each law is broken once on purpose: a check that cannot fail is worth nothing."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pytest
import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from kdharness import testing
from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Model, Needs, NetworkView, Outputs
from kdharness.datasets.digits import Digits
from kdharness.distillers.constants import Temperature
from kdharness.distillers.fitnet import FitNet
from kdharness.distillers.kd import KD
from kdharness.distillers.luminet import LumiNet
from kdharness.distillers.rkd import RKD
from kdharness.models.registry import MODELS
from kdharness.models.resnet import ResNet
from kdharness.testing import check_dataset, check_distiller, check_model
from kdharness.testing.distiller import check_declaration


class NoFormula(KD):
    """Says nothing."""


class Unbounded(KD):
    """L = CE"""

    class Config(DistillerConfig):
        ce_weight: Annotated[float, Field(description="any")] = 1.0


class OpenConfig(KD):
    """L = CE"""

    class Config(KD.Config):
        model_config = ConfigDict(extra="ignore")


class OtherTerms(KD):
    """L = CE"""

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": 1.0}


class InPlace(KD):
    """L = CE"""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        teacher.logits.mul_(2)
        return super().losses(student, teacher, batch)


class GlobalNoise(KD):
    """L = CE"""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return super().losses(replace(student, logits=student.logits + torch.rand(1)), teacher, batch)


class UndeclaredNoise(KD):
    """L = CE"""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        noise = torch.rand(1, generator=batch.generator)
        return super().losses(replace(student, logits=student.logits + noise), teacher, batch)


class Overflowing(KD):
    """L = CE"""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        likelihood = student.logits.softmax(1).gather(1, batch.labels[:, None])
        return {**super().losses(student, teacher, batch), "ce": -likelihood.log().mean()}


class OneOfTwoViews(KD):
    """L = CE"""

    @property
    def needs(self) -> Needs:
        return Needs(views=2)


class NoFamily(KD):
    """L = CE"""

    family = "whatever"  # type: ignore[assignment]  # that is what the check is for


class Detached(KD):
    """L = CE"""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return super().losses(student.detach(), teacher, batch)


class HiddenState(LumiNet):
    """L = CE"""

    seen = 0

    def after_step(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        self.seen += 1

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return {term: value * (1 + self.seen) for term, value in super().losses(student, teacher, batch).items()}


class FirstRow(KD):
    """L = CE"""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return {**super().losses(student, teacher, batch), "ce": student.logits[0].square().sum()}


class OrderForNothing(KD):
    """L = CE"""

    order_matters = "it does not"


class UndeclaredStage(FitNet):
    """L = CE"""

    @property
    def needs(self) -> Needs:
        return Needs(stages=("stage1",), teacher_stages=("stage1",))


class UndeclaredPooled(RKD):
    """L = CE"""

    @property
    def needs(self) -> Needs:
        return Needs()


class UndeclaredTail(KD):
    """L = CE"""

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        teacher.forward_from("pooled", torch.zeros(1, 64, dtype=torch.float64))
        return nn.Module()


class UnusedAdapter(KD):
    """L = CE"""

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        return nn.Linear(1, 1)


class Prediction(KD):
    """L = CE"""

    def predict(self, student: Outputs, teacher: Outputs) -> Tensor:
        return student.pooled


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (NoFormula, "docstring"),
        (NoFamily, "family is 'whatever', not one of logits"),
        (OneOfTwoViews, "no term depends on the second view"),
        (Unbounded, "range"),
        (OpenConfig, "unknown constant"),
        (OtherTerms, "weights"),
        (InPlace, "in place"),
        (GlobalNoise, "global generator"),
        (UndeclaredNoise, r"needs\.random"),
        (Overflowing, "x 1e4"),
        (Detached, "does not require grad|no gradient|nothing reaches|reaches neither"),
        (HiddenState, "after a resume"),
        (FirstRow, "order of the batch"),
        (OrderForNothing, "but no term depends on the order"),
        (UndeclaredStage, "stage2"),
        (UndeclaredPooled, r"needs\.teacher_pooled"),
        (UndeclaredTail, r"needs\.tails"),
        (UnusedAdapter, "no term reaches adapter"),
        (Prediction, "predict"),
    ],
)
def test_a_broken_distiller_is_found(broken: type[Distiller], message: str) -> None:
    with pytest.raises((AssertionError, KeyError, RuntimeError), match=message):
        check_distiller(broken)


def test_a_wrong_minimum_is_found() -> None:
    with pytest.raises(AssertionError, match="ce is"):
        check_distiller(KD, zero_at_equal=("ce",))


class Moving(ResNet):
    def forward_from(self, stage: str, features: Tensor, *, update_statistics: bool = False) -> Outputs:
        return super().forward_from(stage, features, update_statistics=True)


class Frozen(ResNet):
    def forward_from(self, stage: str, features: Tensor, *, update_statistics: bool = False) -> Outputs:
        return super().forward_from(stage, features)


class WrongShapes(ResNet):
    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.shapes = {**self.shapes, "stage3": (64, 9, 9)}


class SkippingTail(ResNet):
    def forward_from(self, stage: str, features: Tensor, *, update_statistics: bool = False) -> Outputs:
        outputs = super().forward_from(stage, features, update_statistics=update_statistics)
        return replace(outputs, logits=outputs.logits + (stage == "stem"))


class Dropping(ResNet):
    def forward(self, images: Tensor) -> Outputs:
        return super().forward(nn.functional.dropout(images, 0.5))


class LayerLess(ResNet):
    @property
    def layers(self) -> Mapping[str, tuple[nn.Module, ...]]:
        return {name: modules for name, modules in super().layers.items() if name != "stem"}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Moving, "without being asked"),
        (Frozen, "moved nothing"),
        (WrongShapes, "declares"),
        (SkippingTail, "from stem"),
        (Dropping, "differs|global generator"),
        (LayerLess, "no layer holds"),
    ],
)
def test_a_broken_network_is_found(broken: Callable[..., Model], message: str) -> None:
    entry = replace(MODELS.get("resnet8"), build=lambda classes, shape: broken(1, (16, 16, 32, 64), classes, shape))
    with pytest.raises(AssertionError, match=message):
        check_model(entry, ((3, 8, 8),))


class Leaking(Digits):
    def split(self, part, validation=0.0):
        return super().split(part, 0.0 if part == "train" else validation)


class Unsealed(Digits):
    def split(self, part, validation=0.0):
        return super().split(part, 0.0 if part == "test" else validation)


@pytest.mark.parametrize(("broken", "message"), [(Leaking, "partition"), (Unsealed, "SealedSplit")])
def test_a_broken_dataset_is_found(broken: type[Digits], message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message):
        check_dataset(broken, tmp_path)


def test_a_constant_whose_kind_says_what_it_is_needs_no_words_of_its_own() -> None:
    class Config(DistillerConfig):
        temperature: Temperature = 4.0

    class Softened(KD):
        """L = CE"""

    Softened.Config = Config
    check_declaration(Softened)


def test_the_checks_are_found_by_name() -> None:
    assert all(callable(getattr(testing, name)) for name in testing.__all__)
    with pytest.raises(AttributeError, match="check_nothing"):
        _ = testing.check_nothing
