"""Images that are decoded when they are wanted train and score as if they were resident, whoever decodes them."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional
from toys import RECIPE, Recorder, member, setting

from kdharness.core.errors import BadInput
from kdharness.core.records import Execution, Recipe
from kdharness.core.streams import Draws, permutation
from kdharness.core.types import Normalization, Split
from kdharness.datasets.decoding import Decoded
from kdharness.datasets.imagenet import Pictures
from kdharness.datasets.splitting import part_of
from kdharness.evaluation.accuracy import evaluate
from kdharness.training.cohort import train_cohort
from kdharness.training.data import FIRST_VIEW, Data, Point
from kdharness.training.members import Finished
from kdharness.training.resampling import crop_boxes
from kdharness.training.streaming import MOST_IDLE, RandomCrops, Streams

STREAMED = Recipe.model_validate(RECIPE.model_dump() | {"batch_size": 36, "augment": "resized-crop-flip"})
TRAIN, TEST = 70, 10


class Photos:
    """70 small JPEGs of 3 classes and 10 to test by, decoded to 16 pixels a side; `held` is the same set, resident."""

    name = "photos"
    num_classes = 3
    image_shape = (3, 16, 16)
    normalization = Normalization((0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
    fingerprint = "toy"
    train_size, test_size = TRAIN, TEST

    def __init__(self, folder: Path, *, held: bool = False) -> None:
        self.folder, self.held = folder, held

    def split(self, part: Literal["train", "val", "test"], validation: float = 0.0) -> Split:
        return part_of(self.name, part, validation, lambda: self._official("train"), lambda: self._official("test"))

    def _official(self, part: str) -> Split:
        numbers = np.arange(TRAIN if part == "train" else TEST, dtype=np.int32)
        labels = (numbers % 3).astype(np.int16)
        pictures = Pictures(self.folder / part, ("a", "b", "c"), "{0}_{1}.JPEG", labels, numbers, 16, 18)
        images = pictures.decode(range(len(pictures))) if self.held else pictures
        return Split(images, torch.from_numpy(labels).long(), torch.arange(len(numbers)))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(1)
    for part, count in (("train", TRAIN), ("test", TEST)):
        for number in range(count):
            name = "abc"[number % 3]
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 256, (6 + number % 5, 7, 3), dtype=np.uint8)
            image = Image.fromarray(pixels).resize((24 + number % 7, 20 + number % 11), Image.Resampling.BICUBIC)
            image.save(folder / part / name / f"{name}_{number}.JPEG")
    return folder


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many there are: the one number of the list."""
    number = [0]
    for module in ("kdharness.training.data", "kdharness.evaluation.accuracy"):
        monkeypatch.setattr(f"{module}.workers_here", lambda: number[0])
    yield number
    assert multiprocessing.active_children() == []


def data(folder: Path) -> Data:
    return Data(Photos(folder), Execution())


def point(position: int, seed: int = 0, epoch: int = 1, recipe: Recipe = STREAMED) -> Point:
    return Point.of(setting(recipe=recipe), seed, epoch, position)


def trained(folder: Path, *members: object, sink: Recorder | None = None) -> Recorder:
    sink = sink or Recorder()
    train_cohort(members, Photos(folder), Execution(), sink)  # type: ignore[arg-type]
    return sink


def alone(folder: Path, **options: object) -> Finished:
    sink = trained(folder, member(setting("alone", recipe=STREAMED), **options))  # type: ignore[arg-type]
    assert not sink.errors
    return sink.results["run"]


def test_a_crop_is_a_function_of_its_image_alone() -> None:
    heights, widths = torch.arange(300, 340), torch.arange(640, 600, -1)
    crops = RandomCrops(FIRST_VIEW, 3, 2, tuple(range(1000, 1040)))(heights, widths)
    assert crops.dtype == torch.int64
    one = RandomCrops(FIRST_VIEW, 3, 2, (1007,))(heights[7:8], widths[7:8])
    assert torch.equal(one[0], crops[7])
    for other in (RandomCrops(FIRST_VIEW, 4, 2, (1007,)), RandomCrops(FIRST_VIEW, 3, 1, (1007,))):
        assert not torch.equal(other(heights[7:8], widths[7:8])[0], crops[7])
    draws = Draws(FIRST_VIEW, 3, 2, torch.arange(1000, 1040))
    assert torch.equal(crops[:, :4], torch.stack(crop_boxes(draws, heights, widths), 1))
    many = RandomCrops(FIRST_VIEW, 0, 1, tuple(range(4000)))(torch.full((4000,), 300), torch.full((4000,), 400))
    assert many[:, 4].double().mean().item() == pytest.approx(0.5, abs=0.03)
    assert set(many[:, 4].tolist()) == {0, 1}


def test_a_batch_is_torchvisions_crops_of_the_rows_that_the_hash_says(folder: Path, workers: list[int]) -> None:
    inputs = data(folder).inputs(point(1))
    rows = permutation(0, 1, torch.arange(TRAIN))[36:]
    assert torch.equal(inputs.index, rows)
    assert torch.equal(inputs.labels, rows % 3)
    photos = Photos(folder)
    draws = Draws(FIRST_VIEW, 0, 1, rows)
    for at, row in enumerate(rows.tolist()):
        image = Image.open(photos.split("train").images.path(row))
        box = RandomCrops(draws.stream, 0, 1, (row,))(torch.tensor([image.height]), torch.tensor([image.width]))[0]
        top, left, height, width, mirrored = box.tolist()
        expected = functional.resized_crop(image, top, left, height, width, [16, 16])
        expected = functional.to_tensor(functional.hflip(expected) if mirrored else expected)
        expected = functional.normalize(expected, photos.normalization.mean, photos.normalization.std)
        assert torch.equal(inputs.images[at], expected)


def test_workers_and_where_one_begins_change_no_batch(folder: Path, workers: list[int]) -> None:
    whole = data(folder)
    batches = [whole.inputs(point(position)).images for position in (0, 1)]
    workers[0] = 2
    for begin in (0, 1):
        begun = data(folder)
        for position in range(begin, 2):
            assert torch.equal(begun.inputs(point(position)).images, batches[position])


def test_training_is_the_same_with_workers_and_resumed(folder: Path, workers: list[int]) -> None:
    expected = alone(folder)
    workers[0] = 2
    assert alone(folder).weights_sha256 == expected.weights_sha256

    stopped = trained(folder, member(setting("alone", recipe=STREAMED)), sink=Recorder(stop_after=1))
    assert multiprocessing.active_children() == []
    workers[0] = 1
    resumed = alone(folder, resume=stopped.ends["run"][-1].state)
    assert resumed.weights_sha256 == expected.weights_sha256
    assert resumed.metrics["test_top1_last"] == expected.metrics["test_top1_last"]


def test_a_pass_at_its_end_takes_no_workers(folder: Path, workers: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[int] = []

    def decoded(*what: object, workers: int) -> Decoded:
        shares.append(workers)
        return Decoded(*what, workers=0)  # type: ignore[arg-type]

    monkeypatch.setattr("kdharness.training.data.Decoded", decoded)
    workers[0] = 4
    images = data(folder)
    for epoch in (1, 2, 3):
        for position in (0, 1):
            images.inputs(point(position, epoch=epoch))
    assert shares == [4, 4, 4]
    images.inputs(point(0, epoch=4))
    images.inputs(point(0, epoch=4, seed=1))
    assert shares[3:] == [4, 2]


def test_members_at_one_point_share_what_is_decoded(
    folder: Path, workers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = alone(folder)
    begun: list[int] = []
    really = Streams.batch

    def batch(self: Streams, key: object, position: int, begin: object) -> Tensor:
        return really(self, key, position, lambda streams: begun.append(position) or begin(streams))  # type: ignore

    monkeypatch.setattr(Streams, "batch", batch)
    members = [member(setting("alone", recipe=STREAMED), run_id=name) for name in ("one", "two")]
    finer = Recipe.model_validate(STREAMED.model_dump() | {"precision": "fp32"})
    sink = trained(folder, *members, member(setting("taught", recipe=finer), run_id="three", channels=3))
    assert not sink.errors
    assert sink.results["one"].weights_sha256 == sink.results["two"].weights_sha256 == expected.weights_sha256
    assert begun == [0, 0]  # once an epoch


def test_scores_are_those_of_resident_images(folder: Path, workers: list[int]) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 3)).eval()
    resident, streamed = Photos(folder, held=True), Photos(folder)
    for validation in (0.0, 0.2):
        part: Literal["val", "test"] = "val" if validation else "test"
        device = torch.device("cpu")
        expected = evaluate(network, resident.split(part, validation), resident.normalization, device=device)
        for workers[0] in (0, 1):
            found = evaluate(network, streamed.split(part, validation), streamed.normalization, device=device)
            assert (found.top1, found.loss) == (expected.top1, expected.loss)
            assert torch.equal(found.confidence, expected.confidence)


def test_a_search_run_sees_its_part_alone(folder: Path, workers: list[int]) -> None:
    sink = trained(folder, member(setting("alone", validation=0.2, recipe=STREAMED)))
    assert not sink.errors
    assert "val_top1_last" in sink.results["run"].metrics


@pytest.mark.parametrize("number", [0, 1])
def test_an_image_that_cannot_be_decoded_is_named(
    folder: Path, tmp_path: Path, workers: list[int], number: int
) -> None:
    workers[0] = number
    (tmp_path / "train").mkdir()
    for name in "abc":
        (tmp_path / "train" / name).symlink_to(folder / "train" / name)
    (tmp_path / "train" / "b").unlink()
    (tmp_path / "test").symlink_to(folder / "test")
    sink = trained(tmp_path, *(member(setting("alone", recipe=STREAMED), run_id=name) for name in ("one", "two")))
    for error in (sink.errors["one"], sink.errors["two"]):
        assert isinstance(error, BadInput)
        assert "cannot be read: No such file" in str(error)
        assert f"{tmp_path}/train/b/b_" in str(error)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"augment": "crop4-flip"}, "'crop4-flip' is for images held in memory; those of photos are read from disk"),
        ({"image_size": 32}, "image_size 32 is for images held in memory; those of photos are .* cut to 16 pixels"),
    ],
)
def test_what_only_resident_images_can_be_is_refused(folder: Path, change: dict[str, object], said: str) -> None:
    recipe = Recipe.model_validate(STREAMED.model_dump() | change)
    sink = trained(folder, member(setting("alone", recipe=recipe)))
    with pytest.raises(BadInput, match=said):
        raise sink.errors["run"]


def test_images_as_they_are_judged(folder: Path, workers: list[int]) -> None:
    plain = Recipe.model_validate(STREAMED.model_dump() | {"augment": "none"})
    found = data(folder).inputs(point(0, recipe=plain))
    held = Data(Photos(folder, held=True), Execution()).inputs(point(0, recipe=plain))
    assert torch.equal(found.images, held.images)


def numbers(begin: int) -> Iterator[Tensor]:
    return iter(torch.arange(begin, 100)[:, None])


def test_streams_follow_members_wherever_they_are() -> None:
    streams, begun = Streams(), []

    def batch(position: int, key: str = "pass") -> int:
        def begin(count: int) -> Iterator[Tensor]:
            begun.append((key, position, count))
            return numbers(position)

        return int(streams.batch(key, position, begin))

    assert [batch(position) for position in (3, 4, 5, 5, 5, 6)] == [3, 4, 5, 5, 5, 6]
    assert begun == [("pass", 3, 1)]
    for position in range(7, 12):  # a member that resumes far behind
        assert (batch(position), batch(position - 7)) == (position, position - 7)
    assert begun == [("pass", 3, 1), ("pass", 0, 2)]
    assert batch(0, "other") == 0
    assert begun[2:] == [("other", 0, 3)]


def test_streams_that_nobody_follows_are_closed() -> None:
    closed: list[str] = []

    def pass_of(name: str) -> Iterator[Tensor]:
        try:
            yield from numbers(0)
        finally:
            closed.append(name)

    streams = Streams()
    streams.batch("left", 0, lambda _: pass_of("left"))
    for position in range(MOST_IDLE + 1):
        streams.batch("followed", position, lambda _: pass_of("followed"))
    assert closed == []
    streams.batch("new", 0, lambda _: pass_of("new"))
    assert closed == ["left"]
    streams.batch("followed", MOST_IDLE + 1, lambda _: pass_of("another"))
    assert closed == ["left"]


def test_a_stream_that_fails_is_begun_again() -> None:
    def failing() -> Iterator[Tensor]:
        raise BadInput("is no image")
        yield

    streams = Streams()
    with pytest.raises(BadInput):
        streams.batch("pass", 5, lambda _: failing())
    assert int(streams.batch("pass", 5, lambda _: numbers(5))) == 5
