"""Fast stand-ins for the real rooms: a dataset of 20 images, a network of two layers, and methods that together use
each member of the distiller seam once."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.errors import LeaseLost
from kdharness.core.keys import canonical
from kdharness.core.records import Execution, Recipe, RunKey, Setting, Teacher
from kdharness.core.registry import Registry
from kdharness.core.types import (
    Batch,
    BuildContext,
    Distiller,
    DistillerConfig,
    Model,
    ModelEntry,
    Needs,
    NetworkView,
    Normalization,
    Outputs,
    Phase,
    Split,
)
from kdharness.training.cohort import EpochEnd, Finished, Member, train_cohort

MODELS: Registry[ModelEntry] = Registry("model", "kdharness.models")
DISTILLERS: Registry[type[Distiller]] = Registry("distiller", "kdharness.distillers")
RECIPE = Recipe(epochs=2, batch_size=8, lr=0.01, milestones=(1,), augment="shift1")


class ToyData:
    """20 random images of 3 classes for training (5 of them validation images where asked), 9 for testing."""

    name = "toy"
    num_classes = 3
    image_shape = (2, 5, 5)
    normalization = Normalization((0.5, 0.4), (0.25, 0.2))
    fingerprint = "toy"
    train_size = 20
    test_size = 9

    def split(self, part: Literal["train", "val", "test"], validation: float = 0.0) -> Split:
        generator = torch.Generator().manual_seed(5)
        images = torch.randint(0, 256, (29, 2, 5, 5), generator=generator, dtype=torch.uint8)
        labels = torch.randint(0, 3, (29,), generator=generator)
        held = 5 if validation else 0
        begin, end = {"train": (held, 20), "val": (0, held), "test": (20, 29)}[part]
        return Split(images[begin:end], labels[begin:end], torch.arange(begin, end) - (20 if part == "test" else 0))


class Colours(ToyData):
    """The same in colour and larger, for augmentations that look at the picture."""

    image_shape = (3, 8, 8)
    normalization = Normalization((0.5, 0.4, 0.3), (0.25, 0.2, 0.3))

    def split(self, part: Literal["train", "val", "test"], validation: float = 0.0) -> Split:
        split = super().split(part, validation)
        images = torch.randint(0, 256, (29, 3, 8, 8), generator=torch.Generator().manual_seed(6), dtype=torch.uint8)
        return Split(images[: len(split.index)], split.labels, split.index)


class Toy(Model):
    """Stem and one stage, each convolution, batch norm, ReLU; layers as a zoo's network has them."""

    def __init__(self, width: int, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv0, self.bn0 = nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, num_classes)
        self.forwards = 0
        shape = (width, *image_shape[1:])
        self.shapes = {
            "stem": shape,
            "stage1.preact": shape,
            "stage1": shape,
            "pooled": (width,),
            "logits": (num_classes,),
        }

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        return {"stage1": self.bn1}

    @property
    def classifier(self) -> nn.Linear:
        return self.fc

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        return {"stem": (self.conv0, self.bn0), "stage1": (self.conv1, self.bn1), "classifier": (self.fc,)}

    def forward(self, images: Tensor) -> Outputs:
        self.forwards += 1
        return self._continue(F.relu(self.bn0(self.conv0(images))))

    def forward_from(self, stage: str, features: Tensor, *, update_statistics: bool = False) -> Outputs:
        if stage != "stem":
            raise KeyError(stage)
        self.bn1.track_running_stats = update_statistics
        outputs = self._continue(features)
        self.bn1.track_running_stats = True
        return outputs

    def _continue(self, stem: Tensor) -> Outputs:
        preact = self.bn1(self.conv1(stem))
        stage1 = F.relu(preact)
        pooled = stage1.mean((2, 3))
        return Outputs(self.fc(pooled), pooled, {"stem": stem, "stage1.preact": preact, "stage1": stage1})


for _name, _width in (("toy4", 4), ("toy6", 6)):
    MODELS.add(_name)(ModelEntry(_name, "toy", lambda classes, shape, width=_width: Toy(width, classes, shape)))


class ToyMethod(Distiller):
    """What the toys share."""

    class Config(DistillerConfig):
        kd_weight: float = 1.0
        explode: bool = False

    paper = "none"
    revision = 1


@DISTILLERS.add("alone")
class Alone(ToyMethod):
    """Cross-entropy."""

    @property
    def needs(self) -> Needs:
        return Needs(teacher="none")

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        assert not teacher.logits.requires_grad
        ce = F.cross_entropy(student.logits, batch.labels)
        return {"ce": ce * float("nan") if self.config.explode else ce}

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": 1.0}


@DISTILLERS.add("taught")
class Taught(ToyMethod):
    """Cross-entropy and the teacher's logits."""

    @property
    def needs(self) -> Needs:
        return Needs()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        assert not student.stages
        assert not teacher.stages
        return {"ce": F.cross_entropy(student.logits, batch.labels), "kd": F.mse_loss(student.logits, teacher.logits)}

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": 1.0, "kd": self.config.kd_weight}


@DISTILLERS.add("broken")
class Broken(Taught):
    """Fails in its second epoch."""

    def weights(self, epoch: int) -> Mapping[str, float]:
        if epoch == 2:
            raise RuntimeError("broken on purpose")
        return super().weights(epoch)


class Adapters(nn.Module):
    """A regressor, a bank indexed by image, and a frozen margin per channel."""

    bank: Tensor
    margin: Tensor

    def __init__(self, width: int, teacher_width: int, images: int, margin: Tensor) -> None:
        super().__init__()
        self.regressor = nn.Sequential(nn.Conv2d(width, teacher_width, 1), nn.BatchNorm2d(teacher_width))
        self.register_buffer("bank", torch.randn(images, width))
        self.register_buffer("margin", margin)


@DISTILLERS.add("everything")
class Everything(ToyMethod):
    """Every member of the seam that a method with a trained teacher can use, each once."""

    @property
    def needs(self) -> Needs:
        return Needs(
            teacher_mode="train",
            stages=("stem", "stage1.preact"),
            teacher_stages=("stage1",),
            teacher_pooled=True,
            tails=True,
            views=2,
            train_labels=True,
            random=True,
        )

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        self.student, self.teacher = student, teacher
        assert context.train_labels is not None
        self.labels = context.train_labels
        margin = teacher.batch_norms["stage1"].bias.detach() - 1
        self.adapters = Adapters(student.shapes["stem"][0], teacher.shapes["stage1"][0], context.train_size, margin)
        return self.adapters

    def phases(self) -> Sequence[Phase]:
        def hint(student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
            return {"hint": 0.5 * self._hint(student, teacher)}

        stem = self.student.layers["stem"]
        return (
            Phase("connectors", 1, [self.adapters.regressor], 0.05, hint, batch_norm="eval"),
            Phase("stem", 2, [*stem, self.adapters.regressor], 0.01, hint),
        )

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        assert student.second is not None
        assert teacher.second is not None
        assert batch.second_view is not None
        assert torch.equal(self.labels[batch.index], batch.labels)
        mixed = self.student.forward_from("stem", student.stages["stem"], update_statistics=True).logits
        theirs = self.teacher.forward_from("stem", self.adapters.regressor(student.stages["stage1.preact"])).logits
        negatives = torch.randint(0, len(self.adapters.bank), (4,), generator=batch.generator)
        terms = {
            "ce": F.cross_entropy(student.logits, batch.labels) + F.cross_entropy(student.second.logits, batch.labels),
            "hint": self._hint(student, teacher),
            "tails": F.cross_entropy(mixed, batch.labels) + F.cross_entropy(theirs, batch.labels),
            "bank": (student.pooled @ self.adapters.bank[negatives].T).square().mean(),
            "classifier": F.mse_loss(student.logits, F.linear(teacher.pooled, self.teacher.classifier.weight)),
            "dropout": F.dropout(student.pooled).square().mean(),
        }
        if "late" in batch.active:
            terms["late"] = F.mse_loss(student.second.logits, teacher.second.logits) / (batch.step + batch.epoch)
        return terms

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {
            "ce": 1.0,
            "hint": 0.1,
            "tails": 0.2,
            "bank": 0.1,
            "classifier": 0.1,
            "dropout": 0.1,
            "late": float(epoch > 1),
        }

    def predict(self, student: Outputs, teacher: Outputs) -> Tensor:
        return student.logits + 0.1 * teacher.logits

    def after_step(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        old = self.adapters.bank[batch.index]
        self.adapters.bank[batch.index] = 0.5 * old + 0.5 * student.pooled

    def _hint(self, student: Outputs, teacher: Outputs) -> Tensor:
        guess = self.adapters.regressor(student.stages["stage1.preact"]).maximum(self.adapters.margin[:, None, None])
        return F.mse_loss(guess, teacher.stages["stage1"])


@DISTILLERS.add("mutual")
class Mutual(ToyMethod):
    """Two students that learn from each other, after a phase."""

    @property
    def needs(self) -> Needs:
        return Needs(teacher="architecture", peer=True)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        self.student = student
        assert context.train_labels is None
        return nn.Module()

    def phases(self) -> Sequence[Phase]:
        def logits(student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
            return {"kd": F.mse_loss(student.logits, teacher.logits)}

        return (Phase("head", 1, self.student.layers["classifier"], 0.1, logits),)

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        assert not teacher.logits.requires_grad
        return {"ce": F.cross_entropy(student.logits, batch.labels), "kd": F.mse_loss(student.logits, teacher.logits)}

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": 1.0, "kd": 0.5}


class Recorder:
    """A sink that keeps what it is told; stops after `stop_after` steps of all members together."""

    def __init__(self, stop_after: int | None = None, due: bool = False) -> None:
        self.ends: dict[str, list[EpochEnd]] = {}
        self.results: dict[str, Finished] = {}
        self.errors: dict[str, Exception] = {}
        self.lost: set[str] = set()
        self.stop_after, self.due, self.steps = stop_after, due, 0

    def epoch_end(self, run_id: str, end: EpochEnd) -> None:
        if run_id in self.lost:
            raise LeaseLost(f"{run_id} is another's")
        self.ends.setdefault(run_id, []).append(end)

    def finished(self, run_id: str, result: Finished) -> None:
        self.results[run_id] = result

    def failed(self, run_id: str, error: Exception) -> None:
        self.errors[run_id] = error

    def stop_requested(self) -> bool:
        self.steps += 1
        return self.steps == self.stop_after

    def checkpoint_due(self, run_id: str) -> bool:
        return self.due


def setting(distiller: str = "taught", validation: float = 0.0, recipe: Recipe = RECIPE, **constants: Any) -> Setting:
    method = DISTILLERS.get(distiller)
    taught = method(method.Config()).needs.teacher
    run = RunKey(setting_key="f" * 64, seed=0) if taught == "weights" else None
    return Setting(
        dataset="toy",
        fingerprint="toy",
        validation=validation,
        student="toy4",
        student_revision=1,
        teachers=() if taught == "none" else (Teacher(model="toy6", revision=1, run=run),),
        distiller=distiller,
        distiller_revision=1,
        constants=canonical(method.Config(**constants)),
        recipe=recipe,
    )


def teacher_weights(channels: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    weights = Toy(6, 3, (channels, 5, 5)).state_dict()
    return {
        key: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for key, value in weights.items()
    }


def member(
    of: Setting, seed: int = 0, run_id: str = "run", resume: Mapping[str, Any] | None = None, channels: int = 2
) -> Member:
    weights = (teacher_weights(channels),) if any(teacher.run for teacher in of.teachers) else ()
    return Member(run_id, of, seed, weights, resume)


def train(*members: Member, sink: Recorder | None = None, data: ToyData | None = None) -> Recorder:
    sink = sink or Recorder()
    train_cohort(members, data or ToyData(), Execution(), sink)
    return sink


def result(of: Setting, seed: int = 0, data: ToyData | None = None) -> Finished:
    """The run trained alone."""
    data = data or ToyData()
    sink = train(member(of, seed, channels=data.image_shape[0]), data=data)
    for error in sink.errors.values():
        raise error
    return sink.results["run"]
