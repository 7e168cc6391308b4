"""One step of a distiller on small real networks, with everything that its `needs` do not name taken away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Model, NetworkView, Outputs
from kdharness.models.registry import MODELS

NUM_CLASSES = 10
IMAGE_SHAPE = (3, 8, 8)
TRAIN_SIZE = 40


class WatchedView:
    """A network as a distiller may see it: `forward_from` only where `needs.tails` declares it."""

    def __init__(self, model: Model, tails: bool) -> None:
        self._model = model
        self._tails = tails

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self._model.shapes

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        return self._model.batch_norms

    @property
    def classifier(self) -> nn.Linear:
        return self._model.classifier

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        return self._model.layers

    def forward_from(self, stage: str, features: Tensor, *, update_statistics: bool = False) -> Outputs:
        if not self._tails:
            raise AssertionError("calls forward_from, but `needs.tails` is False")
        return self._model.forward_from(stage, features, update_statistics=update_statistics)


@dataclass
class Bench:
    """A built distiller, its two networks and a batch."""

    distiller: Distiller
    student: Model
    teacher: Model
    adapters: nn.Module
    batch: Batch

    @classmethod
    def make(
        cls,
        distiller_class: type[Distiller],
        config: DistillerConfig | None,
        *,
        rows: int = 8,
        dtype: torch.dtype = torch.float64,
        adapter_seed: int = 0,
        student: str = "resnet8",
        teacher: str = "resnet14",
        num_classes: int = NUM_CLASSES,
        image_shape: tuple[int, int, int] = IMAGE_SHAPE,
    ) -> "Bench":
        """One network taught by the other, both untrained, on noise; the global generators are left as they were."""
        distiller = distiller_class(config if config is not None else distiller_class.Config())
        needs = distiller.needs
        noise = torch.Generator().manual_seed(7)
        labels = torch.randint(num_classes, (rows,), generator=noise)
        train_labels = torch.arange(TRAIN_SIZE) % num_classes
        train_labels[:rows] = labels
        context = BuildContext(num_classes, TRAIN_SIZE, image_shape, train_labels if needs.train_labels else None)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            learning = MODELS.get(student).build(num_classes, image_shape).to(dtype)
            teaching = MODELS.get(teacher).build(num_classes, image_shape).to(dtype)
            torch.manual_seed(adapter_seed)
            if not needs.peer:
                teaching.requires_grad_(False).train(needs.teacher_mode == "train")
            teacher_view = WatchedView(learning if needs.teacher == "none" else teaching, needs.tails)
            student_view: NetworkView = WatchedView(learning, needs.tails)
            adapters = distiller.build(student_view, teacher_view, context).to(dtype)
        images = torch.randn((rows, *image_shape), generator=noise, dtype=dtype)
        batch = Batch(
            images=images,
            labels=labels,
            index=torch.arange(rows),
            epoch=torch.tensor(1),
            step=torch.tensor(0),
            generator=torch.Generator().manual_seed(3),
            second_view=images.flip(3) if needs.views == 2 else None,
            active=frozenset(distiller.weights(1)),  # those of weight 0 too: their laws are checked
        )
        return cls(distiller, learning, teaching, adapters, batch)

    def outputs(self) -> tuple[Outputs, Outputs]:
        """Student's (with gradient) and teacher's outputs for the batch, only what `needs` names."""
        needs = self.distiller.needs
        student = _views(self.student, self.batch)
        if needs.teacher == "none" and not needs.peer:
            teacher = student.detach()
        else:
            with torch.no_grad():
                teacher = _views(self.teacher, self.batch)
        return student.only(needs.stages), teacher.only(needs.teacher_stages, pooled=needs.teacher_pooled)

    def losses(self, student: Outputs, teacher: Outputs) -> Mapping[str, Tensor]:
        """The distiller's terms, with the step's generator at its start."""
        self.batch.generator.manual_seed(3)
        return self.distiller.losses(student, teacher, self.batch)

    def total(self, terms: Mapping[str, Tensor], epoch: int) -> Tensor:
        """The loss that is trained on in `epoch`."""
        weights = self.distiller.weights(epoch)
        return torch.stack([weights[term] * value for term, value in terms.items()]).sum()

    def permuted(self, order: Tensor) -> "Bench":
        """The same distiller with the batch's rows in another order."""
        batch = self.batch
        second = batch.second_view[order] if batch.second_view is not None else None
        shuffled = replace(
            batch,
            images=batch.images[order],
            labels=batch.labels[order],
            index=batch.index[order],
            second_view=second,
        )
        return replace(self, batch=shuffled)


def rows_of(outputs: Outputs, order: Tensor) -> Outputs:
    """The outputs of the chosen rows."""
    return outputs.each(lambda value: value[order])


def with_logits(outputs: Outputs, logits: Tensor) -> Outputs:
    """The outputs with these logits, in both views."""
    second = replace(outputs.second, logits=logits) if outputs.second is not None else None
    return replace(outputs, logits=logits, second=second)


def _views(model: Model, batch: Batch) -> Outputs:
    first: Outputs = model(batch.images)
    return first if batch.second_view is None else replace(first, second=model(batch.second_view))
