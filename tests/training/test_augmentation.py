"""Views are torchvision's pictures, bit for bit, and their draws depend on their coordinates alone."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torchvision import transforms
from torchvision.transforms import functional
from toys import RECIPE, ToyData

from kdharness.core.records import Execution
from kdharness.core.streams import Draws
from kdharness.core.types import Dataset, Normalization
from kdharness.datasets.digits import Digits
from kdharness.datasets.synthetic import Synthetic
from kdharness.evaluation.pixels import normalised
from kdharness.training.augmentation import AUGMENTATIONS, Views
from kdharness.training.data import Data, Point
from kdharness.training.recipes import AUGMENTS

NORM = Normalization((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))


def test_recipes_know_the_names() -> None:
    assert set(AUGMENTS) == set(AUGMENTATIONS)


@pytest.mark.parametrize(("name", "count"), [("none", 1), ("shift1", 9), ("rotate20-flip", 2), ("crop4-flip", 162)])
def test_every_view_is_torchvisions_picture(name: str, count: int) -> None:
    augmentation = AUGMENTATIONS[name]
    images = torch.randint(0, 256, (3, 3, 9, 7), dtype=torch.uint8)
    views, pad = Views(images, augmentation.pad), augmentation.pad
    finish = transforms.Compose([transforms.ToTensor(), transforms.Normalize(NORM.mean, NORM.std)])  # mdistiller's
    seen = set()
    for view in range(augmentation.views):
        position = torch.tensor([2, 0])
        got = normalised(views.take(position, torch.full((2,), view)), NORM, torch.float32)
        steps = 2 * pad + 1
        cropped = functional.crop(F.pad(images[position], [pad] * 4), view % steps, view // steps % steps, 9, 7)
        expected = functional.hflip(cropped) if view // steps**2 else cropped
        assert torch.equal(got, torch.stack([finish(picture.permute(1, 2, 0).numpy()) for picture in expected]))
        seen.add(got.numpy().tobytes())
    assert len(seen) == augmentation.views == count


@pytest.mark.parametrize(
    "dataset", [Digits(Path()), Synthetic(Path(), num_classes=10, train_size=100)], ids=["8x8", "32x32"]
)
def test_a_hundred_images_in_all_162_views_have_the_bits_of_the_fields_pipeline(dataset: Dataset) -> None:
    """PIL, padded with 4 black pixels, cropped, flipped, ToTensor, Normalize, as mdistiller's loader does it."""
    torch.set_num_threads(1)
    point = Point(0.0, "crop4-flip", "fp32", 162, 0, 1, 0)
    laid_out = [Data(dataset, Execution(layout=layout)) for layout in ("channels_last", "contiguous")]
    train, (_, height, width) = dataset.split("train"), dataset.image_shape
    normalization = dataset.normalization
    for pixels, index in zip(train.images[:100], train.index[:100].tolist(), strict=True):
        padded = functional.pad(functional.to_pil_image(pixels), [4])
        crops = [functional.crop(padded, view % 9, view // 9 % 9, height, width) for view in range(81)]
        pictures = [*crops, *(functional.hflip(crop) for crop in crops)]
        tensors = torch.stack([functional.to_tensor(picture) for picture in pictures])
        expected = functional.normalize(tensors, list(normalization.mean), list(normalization.std))
        for data in laid_out:
            assert torch.equal(data.viewed(point, 162 * index + torch.arange(162)), expected)


def test_over_the_epochs_every_image_is_seen_in_every_view_equally_often() -> None:
    data, epochs, images = Data(Digits(Path()), Execution()), 240, Digits.train_size
    points = (Point(0.0, "crop4-flip", "fp32", images, 0, epoch, 0) for epoch in range(1, epochs + 1))
    seen = torch.zeros(images * 162)
    for point in points:
        seen.index_add_(0, data.entries(point), torch.ones(images))
    assert seen.view(images, 162).sum(1).unique().tolist() == [epochs]
    for counts, chi2 in ((seen.view(images, 162).sum(0), 235), (seen.view(images, 2, 81).sum((0, 1)), 136)):
        even = counts.sum() / len(counts)
        assert ((counts - even) ** 2 / even).sum() < chi2  # 161 and 80 degrees of freedom: 1 in 10,000
    distinct = (seen > 0).double().mean().item()
    assert distinct == pytest.approx(1 - (1 - 1 / 162) ** epochs, abs=0.002)  # 77.4 %, as if drawn anew each time


def test_views_are_drawn_evenly() -> None:
    drawn = AUGMENTATIONS["crop4-flip"].draw(Draws("augmentation", 0, 1, torch.arange(50_000)))
    counts = torch.bincount(drawn, minlength=162).double()
    chi2 = ((counts - 50_000 / 162) ** 2 / (50_000 / 162)).sum()
    assert chi2 < 235  # 161 degrees of freedom: 1 in 10,000


def test_a_batch_is_a_function_of_its_point() -> None:
    data, other = Data(ToyData(), Execution()), Data(ToyData(), Execution())
    point = Point(0.0, "shift1", "tf32", 8, seed=3, epoch=2, position=1)
    for epoch in (9, 4):
        other.inputs(Point(0.0, "shift1", "tf32", 8, seed=3, epoch=epoch, position=0))
    assert torch.equal(data.inputs(point).images, other.inputs(point).images)
    rows = [data.rows(Point(0.0, "none", "tf32", 8, 3, 2, position)) for position in range(3)]
    assert sorted(torch.cat(rows).tolist()) == list(range(20))
    assert not torch.equal(rows[0], data.rows(Point(0.0, "none", "tf32", 8, 4, 2, 0)))
    assert not torch.equal(rows[0], data.rows(Point(0.0, "none", "tf32", 8, 3, 3, 0)))


def test_index_is_the_place_in_the_official_split() -> None:
    data = Data(ToyData(), Execution())
    inputs = data.inputs(Point(0.25, "none", "tf32", 15, 0, 1, 0))
    assert sorted(inputs.index.tolist()) == list(range(5, 20))
    assert torch.equal(ToyData().split("train").labels[inputs.index], inputs.labels)
    labels = data.context(0.25, train_labels=True).train_labels
    assert labels is not None
    assert labels[:5].tolist() == [-1] * 5
    assert torch.equal(labels[inputs.index], inputs.labels)


def test_the_second_view_is_another_draw_of_the_same_images() -> None:
    data = Data(ToyData(), Execution())
    point = Point(0.0, "shift1", "tf32", 20, 0, 1, 0)
    first, second = data.images(point), data.images(point.second(RECIPE))
    equal = [torch.equal(one, other) for one, other in zip(first, second, strict=True)]
    assert 0 < sum(equal) < 10  # of 20 with 9 views
    strong = RECIPE.model_copy(update={"second_view": "none"})
    assert torch.equal(data.images(point.second(strong)), data.images(Point(0.0, "none", "tf32", 20, 0, 1, 0)))


@pytest.mark.parametrize(
    ("layout", "memory"), [("channels_last", torch.channels_last), ("contiguous", torch.contiguous_format)]
)
def test_images_come_in_the_layout_asked_for(layout: str, memory: torch.memory_format) -> None:
    images = Data(ToyData(), Execution(layout=layout)).inputs(Point(0.0, "shift1", "fp64", 8, 0, 1, 0)).images  # type: ignore[arg-type]
    assert images.is_contiguous(memory_format=memory)
    assert images.dtype == torch.float64
