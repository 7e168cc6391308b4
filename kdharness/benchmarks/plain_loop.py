"""The plain loop: one run after another, as the public code of the field trains.

A DataLoader of PIL pictures through torchvision's transforms, images and networks in NCHW, the teacher's forward at
every step, torch's SGD, and after every step the loss, top-1 and top-5 read back. Networks and losses are the
harness's own, so that what differs is the loop. It is no second trainer: nothing but the benchmarks runs it.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms

from kdharness.core.records import Setting
from kdharness.core.streams import seeded
from kdharness.core.types import Batch, Normalization, Outputs, Split
from kdharness.core.types import Dataset as Images
from kdharness.distillers.sums import method
from kdharness.models.registry import MODELS


class Pictures(torch.utils.data.Dataset[tuple[Any, int]]):
    """A split as torchvision's CIFAR classes give it: an array per image, made a picture when it is wanted."""

    def __init__(self, split: Split, transform: transforms.Compose) -> None:
        assert isinstance(split.images, Tensor)  # of datasets in memory
        self._arrays = split.images.permute(0, 2, 3, 1).contiguous().numpy()
        self._labels = split.labels.tolist()
        self._transform = transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._transform(Image.fromarray(self._arrays[index])), self._labels[index]


def train_loader(split: Split, normalization: Normalization, *, workers: int = 0) -> DataLoader[tuple[Any, int]]:
    """Batches of 64: padded crops, flips, normalised. Without workers, which on few cores is the faster way."""
    transform = transforms.Compose([
        transforms.RandomCrop(32, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(normalization.mean, normalization.std),
    ])  # fmt: skip
    return DataLoader(Pictures(split, transform), batch_size=64, shuffle=True, num_workers=workers)


def test_loader(split: Split, normalization: Normalization) -> DataLoader[tuple[Any, int]]:
    """Batches of 64 of the images as they are."""
    transform = transforms.Compose([
        transforms.ToTensor(),
        transforms.Normalize(normalization.mean, normalization.std),
    ])  # fmt: skip
    return DataLoader(Pictures(split, transform), batch_size=64)


class PlainRun:
    """One student and its teacher in the plain loop."""

    def __init__(
        self, setting: Setting, seed: int, teacher: Mapping[str, Tensor], dataset: Images, *, device: str = "cpu"
    ) -> None:
        kind = method(setting.distiller)
        self._recipe, self._device = setting.recipe, device
        self._distiller = kind(kind.Config.model_validate(dict(setting.constants)))
        with seeded("student", seed):
            self.student = MODELS.get(setting.student).build(dataset.num_classes, dataset.image_shape)
        self.student.to(device).train()
        self.teacher = MODELS.get(setting.teachers[0].model).build(dataset.num_classes, dataset.image_shape)
        self.teacher.load_state_dict(teacher)
        self.teacher.to(device).eval()
        self._optimizer = torch.optim.SGD(
            self.student.parameters(),
            lr=self._recipe.lr,
            momentum=self._recipe.momentum,
            weight_decay=self._recipe.weight_decay,
        )
        self._train = train_loader(dataset.split("train"), dataset.normalization, workers=2 if device != "cpu" else 0)
        self._test = test_loader(dataset.split("test"), dataset.normalization)
        self._batches: Iterator[Any] = iter(())

    def next_step(self) -> tuple[float, float, float]:
        """One step on the next batch; the loader begins anew where it ends."""
        batch = next(self._batches, None)
        if batch is None:
            self._batches = iter(self._train)
            batch = next(self._batches)
        images, labels = batch
        return self.step(images, labels, epoch=1)

    def step(self, images: Tensor, labels: Tensor, epoch: int) -> tuple[float, float, float]:
        """Train on a batch: its loss, top-1 and top-5 (%)."""
        images, labels = images.to(self._device), labels.to(self._device)
        self._optimizer.zero_grad()
        student = self.student(images)
        with torch.no_grad():
            teacher = self.teacher(images)
        loss = self._loss(student, teacher, images, labels, epoch)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._optimizer.step()
        return loss.item(), *_accuracy(student.logits, labels)

    def epoch(self, epoch: int) -> float:
        """Train on every image once, then test: the test accuracy (%)."""
        self.student.train()
        for images, labels in self._train:
            self.step(images, labels, epoch)
        return self.test()

    @torch.no_grad()
    def test(self) -> float:
        """Top-1 accuracy on the test images (%)."""
        self.student.eval()
        right, count = 0.0, 0
        for images, labels in self._test:
            top1, _ = _accuracy(self.student(images.to(self._device)).logits, labels.to(self._device))
            right, count = right + top1 * len(labels), count + len(labels)
        return right / count

    def _loss(self, student: Outputs, teacher: Outputs, images: Tensor, labels: Tensor, epoch: int) -> Tensor:
        batch = Batch(
            images=images,
            labels=labels,
            index=torch.zeros_like(labels),
            epoch=torch.tensor(epoch),
            step=torch.tensor(0),
            generator=torch.default_generator,
            second_view=None,
            active=frozenset(),
        )
        weights = self._distiller.weights(epoch)
        terms = self._distiller.losses(student, teacher, batch)
        return torch.stack([weights[name] * value for name, value in terms.items()]).sum()


def _accuracy(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Top-1 and top-5 of a batch (%), read back at once."""
    best = logits.topk(5, 1).indices
    hits = best == labels[:, None]
    return (100 * hits[:, :1].sum() / len(labels)).item(), (100 * hits.sum() / len(labels)).item()


def main(arguments: list[str]) -> None:
    """`STUDY.yaml TEACHER.pt RUNS`: train so many runs of the study, the first seed's first, and print what came out.

    One line of JSON per run: label, seed, test accuracy, CPU and wall seconds. The epoch's weights are saved, as such
    code does, beside the study file.
    """
    from kdharness.benchmarks.images import small
    from kdharness.benchmarks.runs import wanted

    study, checkpoint, count = arguments
    dataset = small(Path(study).parent)
    runs = sorted(wanted(Path(study).read_text()), key=lambda run: run.seed)[: int(count)]
    for run in runs:
        began = process_time(), perf_counter()
        teacher = torch.load(checkpoint, weights_only=True)
        plain = PlainRun(run.setting, run.seed, teacher, dataset)
        top1 = 0.0
        for epoch in range(1, run.setting.recipe.epochs + 1):
            top1 = plain.epoch(epoch)
            torch.save(plain.student.state_dict(), Path(study).with_name("student_latest.pt"))
        took = process_time() - began[0], perf_counter() - began[1]
        said = {"label": run.label, "seed": run.seed, "test_top1": top1, "cpu": took[0], "wall": took[1]}
        sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
