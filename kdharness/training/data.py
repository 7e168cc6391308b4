"""Batches at a point that (seed, epoch, position) determine, on any device the same.

Of resident images a batch is a gather; those that are too many are decoded ahead of the step.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from kdharness.core.errors import BadInput
from kdharness.core.records import Execution, Precision, Recipe, Setting
from kdharness.core.streams import Draws, permutation
from kdharness.core.types import BuildContext, Dataset, ImageSource, Normalization, Split
from kdharness.datasets.decoding import Decoded, workers_here
from kdharness.evaluation.pixels import normalised
from kdharness.training.augmentation import AUGMENTATIONS, Views
from kdharness.training.inputs import Inputs, dtype_of
from kdharness.training.recipes.recipe_file import STREAMED_AUGMENTS
from kdharness.training.resampling import resized
from kdharness.training.streaming import RandomCrops, Streams

MOST_ORDERS_KEPT = 64
FIRST_VIEW, SECOND_VIEW = "augmentation", "second view"
"""The streams from which the views of an image are drawn."""
"""Augmentations that whoever decodes an image can carry out."""
IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


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
    image_size: int | None = None
    normalization: Literal["dataset", "imagenet"] = "dataset"
    stream: str = FIRST_VIEW

    @classmethod
    def of(cls, setting: Setting, seed: int, epoch: int, position: int) -> "Point":
        """The first view at this place."""
        recipe = setting.recipe
        return cls(
            setting.validation,
            recipe.augment,
            recipe.precision,
            recipe.batch_size,
            seed,
            epoch,
            position,
            recipe.image_size,
            recipe.normalization,
        )

    def second(self, recipe: Recipe) -> "Point":
        """The second view of the same images."""
        return replace(self, augment=recipe.second_view or self.augment, stream=SECOND_VIEW)


class Data:
    """One dataset on one device, opened part by part as it is asked for."""

    def __init__(self, dataset: Dataset, execution: Execution) -> None:
        self.dataset = dataset
        self.device = torch.device(execution.device)
        self.execution = execution
        self.layout = torch.channels_last if execution.layout == "channels_last" else torch.contiguous_format
        self._train: dict[float, Split] = {}
        self._index: dict[float, Tensor] = {}
        self._evaluation: dict[tuple[float, int | None], Split] = {}
        self._views: dict[tuple[float, int], Views] = {}
        self._orders: dict[Hashable, Tensor] = {}
        self._entries: dict[Hashable, Tensor] = {}
        self._places: dict[float, Tensor] = {}
        self._streams = Streams()

    def train(self, validation: float) -> Split:
        """The images trained on."""
        if validation not in self._train:
            split = self.dataset.split("train", validation)
            self._train[validation] = self._resident(split)
            self._index[validation] = split.index.cpu()
        return self._train[validation]

    def evaluation(self, validation: float, image_size: int | None = None) -> Split:
        """The images by which a run is judged: in a search run the validation images, else test.

        With `image_size` they are resized once, straight and bilinearly, and held at that size (at 224 pixels 10,000
        images are 1.5 GB).
        """
        key = (validation, image_size)
        if key not in self._evaluation:
            part = self.dataset.split("val", validation) if validation else self.dataset.split("test")
            part = self._resident(part)
            if image_size is not None:
                part = replace(part, images=self._at_size(part.images, image_size))
            self._evaluation[key] = part
        return self._evaluation[key]

    def image_shape(self, image_size: int | None) -> tuple[int, int, int]:
        """(C, H, W) of what a network is fed."""
        channels, height, width = self.dataset.image_shape
        return (channels, image_size or height, image_size or width)

    def normalization(self, name: Literal["dataset", "imagenet"]) -> Normalization:
        """The recipe's mean and deviation. Raises BadInput for ImageNet's on images that are not RGB."""
        if name == "dataset":
            return self.dataset.normalization
        if self.dataset.image_shape[0] != len(IMAGENET.mean):
            raise BadInput(
                f"normalization imagenet is for RGB images; those of {self.dataset.name} have "
                f"{self.dataset.image_shape[0]} channels"
            )
        return IMAGENET

    def context(self, validation: float, train_labels: bool, image_size: int | None = None) -> BuildContext:
        """What a distiller's `build` may know of the data."""
        labels = None
        if train_labels:
            train = self.train(validation)
            labels = torch.full((self.dataset.train_size,), -1, dtype=torch.int64, device=self.device)
            labels[train.index] = train.labels
        return BuildContext(self.dataset.num_classes, self.dataset.train_size, self.image_shape(image_size), labels)

    def there(self, values: Tensor) -> Tensor:
        """On the data's device; a GPU fetches them from pinned memory when it comes to it, and the host goes on."""
        return values.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else values

    def rows(self, point: Point) -> Tensor:
        """(B,), on the CPU: the batch as positions in the images trained on."""
        return self._order(point)[: point.batch_size]

    def images(self, point: Point) -> Tensor:
        """(B, C, H, W): the batch at `point`, augmented and normalised."""
        augmentation, rows = AUGMENTATIONS[point.augment], self.rows(point)
        draws = self._draws(point, rows)
        stored = self.train(point.validation).images
        if isinstance(stored, Tensor):
            return self._images(point, rows, augmentation.draw(draws), draws)
        return self._finished(self.there(self._decoded(stored, point)).permute(0, 2, 3, 1), point, draws)

    def views(self, point: Point) -> int | None:
        """How many views an image has; None where they are not finitely many, or images are decoded when wanted."""
        augmentation = AUGMENTATIONS[point.augment]
        resident = isinstance(self.train(point.validation).images, Tensor)
        return augmentation.views if augmentation.is_finite and resident else None

    def entries(self, point: Point, batches: int = 1) -> Tensor:
        """(N,) int64, on the CPU: position in the full train split x views + view, where there is a number of views.

        Of the batch at `point`, and for more than one of those that follow it, at most to the end of the next epoch.
        """
        wanted, found = batches * point.batch_size, self._epoch_entries(point)[point.position * point.batch_size :]
        if batches == 1 or len(found) >= wanted:
            return found[:wanted]
        following = replace(point, epoch=point.epoch + 1)
        return torch.cat((found, self._epoch_entries(following)[: wanted - len(found)]))

    def viewed(self, point: Point, entries: Tensor) -> Tensor:
        """(B, C, H, W): the images and views of those `entries`, otherwise made as at `point`."""
        views = AUGMENTATIONS[point.augment].views
        if point.validation not in self._places:
            index = self._index_of(point.validation)
            places = torch.zeros(self.dataset.train_size, dtype=torch.int64)
            self._places[point.validation] = places.index_put((index,), torch.arange(len(index)))
        rows = self._places[point.validation][entries // views]
        return self._images(point, rows, entries % views, self._draws(point, rows))

    def inputs(self, point: Point) -> Inputs:
        """The batch at `point`, one view."""
        train, rows = self.train(point.validation), self.there(self.rows(point))
        return Inputs(self.images(point), train.labels[rows], train.index[rows])

    def _draws(self, point: Point, rows: Tensor) -> Draws:
        return Draws(point.stream, point.seed, point.epoch, self._index_of(point.validation)[rows])

    def _index_of(self, validation: float) -> Tensor:
        """(N,), on the CPU: which images are trained on."""
        self.train(validation)
        return self._index[validation]

    def _epoch_entries(self, point: Point) -> Tensor:
        """(N,): the whole epoch's, in order."""
        key = (point.validation, point.seed, point.epoch, point.stream, point.augment)
        if key not in self._entries:
            if len(self._entries) >= MOST_ORDERS_KEPT:
                self._entries.clear()
            order, augmentation = self._order(replace(point, position=0)), AUGMENTATIONS[point.augment]
            draws = self._draws(point, order)
            self._entries[key] = draws.index * augmentation.views + augmentation.draw(draws)
        return self._entries[key]

    def _images(self, point: Point, rows: Tensor, view: Tensor, draws: Draws) -> Tensor:
        """Of resident images, those at `rows` in these views."""
        stored, augmentation = self.train(point.validation).images, AUGMENTATIONS[point.augment]
        assert isinstance(stored, Tensor)
        key = (point.validation, augmentation.pad)
        if key not in self._views:
            self._views[key] = Views(stored, augmentation.pad)
        pixels = self._views[key].take(self.there(rows), self.there(view))
        return self._finished(augmentation.change(pixels, draws, point.image_size), point, draws)

    def _finished(self, pixels: Tensor, point: Point, draws: Draws) -> Tensor:
        """(B, H, W, C) uint8 -> (B, C, H, W), normalised."""
        images = normalised(pixels, self.normalization(point.normalization), dtype_of(point.precision))
        return AUGMENTATIONS[point.augment].finish(images, draws).contiguous(memory_format=self.layout)

    def _order(self, point: Point) -> Tensor:
        """(N,), on the CPU: what is left of the epoch at `point`, as positions in the images trained on."""
        key = (point.validation, point.seed, point.epoch)
        if key not in self._orders:
            if len(self._orders) >= MOST_ORDERS_KEPT:
                self._orders.clear()
            self._orders[key] = permutation(point.seed, point.epoch, self._index_of(point.validation))
        return self._orders[key][point.position * point.batch_size :]

    def _decoded(self, source: ImageSource, point: Point) -> Tensor:
        """(B, C, H, W) uint8, on the CPU: the batch at `point`, by workers that go on with those after it.

        Raises BadInput for an augmentation or a size that is for resident images.
        """
        if point.augment not in STREAMED_AUGMENTS:
            raise BadInput(
                f"augmentation {point.augment!r} is for images held in memory; those of {self.dataset.name} are read "
                "from disk",
                remedy=f"name one of {', '.join(STREAMED_AUGMENTS)}",
            )
        self._at_size(source, point.image_size)
        index = self._index_of(point.validation)

        def crops(rows: Tensor) -> RandomCrops:
            return RandomCrops(point.stream, point.seed, point.epoch, tuple(index[rows].tolist()))

        def begin(streams: int) -> Decoded:
            return Decoded(
                source,
                self._order(point),
                point.batch_size,
                crops if AUGMENTATIONS[point.augment].resized_crop else None,
                workers=math.ceil(workers_here() / streams),
            )

        same = replace(point, position=0, precision="fp32", normalization="dataset")  # what decides on the bytes
        return self._streams.batch(same, point.position, begin)

    def _at_size(self, images: Tensor | ImageSource, size: int | None) -> Tensor | ImageSource:
        """Resized, straight and bilinearly. Raises BadInput where they are decoded at another size."""
        if size is None or (size, size) == self.dataset.image_shape[1:]:
            return images
        if not isinstance(images, Tensor):
            raise BadInput(
                f"image_size {size} is for images held in memory; those of {self.dataset.name} are read from disk and "
                f"cut to {self.dataset.image_shape[1]} pixels"
            )
        return resized(images.permute(0, 2, 3, 1), size).permute(0, 3, 1, 2)

    def _resident(self, split: Split) -> Split:
        images = split.images.to(self.device) if isinstance(split.images, Tensor) else split.images
        return Split(images, split.labels.to(self.device), split.index.to(self.device))
