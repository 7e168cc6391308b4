"""Resident data: a batch is a gather at a point that (seed, epoch, position) determine, on any device the same."""

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from kdharness.core.records import Execution, Precision, Setting
from kdharness.core.streams import permutation
from kdharness.core.types import BuildContext, Dataset, Split
from kdharness.evaluation.pixels import normalised
from kdharness.training.augmentation import AUGMENTATIONS, Views
from kdharness.training.inputs import Inputs, dtype_of

MOST_ORDERS_KEPT = 64
FIRST_VIEW, SECOND_VIEW = "augmentation", "second view"
"""The streams from which the views of an image are drawn."""


@dataclass(frozen=True)
class Point:
    """All that determines a batch: members of a cohort with equal points share it."""

    validation: float
    augment: str
    precision: Precision
    batch_size: int
    seed: int
    epoch: int
    """The epoch that the draws are made for: phases lie before epoch 1."""
    position: int
    """Batches of this epoch before this one."""

    @classmethod
    def of(cls, setting: Setting, seed: int, epoch: int, position: int) -> "Point":
        recipe = setting.recipe
        return cls(setting.validation, recipe.augment, recipe.precision, recipe.batch_size, seed, epoch, position)


class Data:
    """One dataset on one device, opened part by part as it is asked for."""

    def __init__(self, dataset: Dataset, execution: Execution) -> None:
        self.dataset = dataset
        self.device = torch.device(execution.device)
        self.layout = torch.channels_last if execution.layout == "channels_last" else torch.contiguous_format
        self._train: dict[float, Split] = {}
        self._evaluation: dict[float, Split] = {}
        self._views: dict[tuple[float, str], Views] = {}
        self._orders: dict[Hashable, Tensor] = {}

    def train(self, validation: float) -> Split:
        """The images trained on."""
        if validation not in self._train:
            self._train[validation] = self._resident(self.dataset.split("train", validation))
        return self._train[validation]

    def evaluation(self, validation: float) -> Split:
        """The images by which a run is judged: in a search run the validation images, else test."""
        if validation not in self._evaluation:
            part = self.dataset.split("val", validation) if validation else self.dataset.split("test")
            self._evaluation[validation] = self._resident(part)
        return self._evaluation[validation]

    def context(self, validation: float, train_labels: bool) -> BuildContext:
        """What a distiller's `build` may know of the data."""
        labels = None
        if train_labels:
            train = self.train(validation)
            labels = torch.full((self.dataset.train_size,), -1, dtype=torch.int64, device=self.device)
            labels[train.index] = train.labels
        return BuildContext(self.dataset.num_classes, self.dataset.train_size, self.dataset.image_shape, labels)

    def rows(self, point: Point) -> Tensor:
        """(B,): the batch as positions in the images trained on."""
        key = (point.validation, point.seed, point.epoch)
        if key not in self._orders:
            if len(self._orders) >= MOST_ORDERS_KEPT:
                self._orders.clear()
            self._orders[key] = permutation(point.seed, point.epoch, self.train(point.validation).index)
        return self._orders[key][point.position * point.batch_size : (point.position + 1) * point.batch_size]

    def images(self, point: Point, rows: Tensor, stream: str) -> Tensor:
        """(B, C, H, W): the rows in the views drawn from `stream`, normalised."""
        train, key = self.train(point.validation), (point.validation, point.augment)
        if key not in self._views:
            self._views[key] = Views(train.images, AUGMENTATIONS[point.augment])
        views = self._views[key]
        drawn = views.augmentation.draw(stream, point.seed, point.epoch, train.index[rows])
        images = normalised(views.take(rows, drawn), self.dataset.normalization, dtype_of(point.precision))
        return images.contiguous(memory_format=self.layout)

    def inputs(self, point: Point) -> Inputs:
        """The batch at `point`, one view."""
        train, rows = self.train(point.validation), self.rows(point)
        return Inputs(self.images(point, rows, FIRST_VIEW), train.labels[rows], train.index[rows])

    def _resident(self, split: Split) -> Split:
        return Split(split.images.to(self.device), split.labels.to(self.device), split.index.to(self.device))
