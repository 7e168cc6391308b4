"""A table moves no bit: runs end with the weights they have without one, whatever has filled it."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from toys import Recorder

from kdharness.core.keys import canonical
from kdharness.core.records import Execution, Precision, Recipe, RunKey, Setting, Teacher
from kdharness.core.streams import seeded
from kdharness.core.types import Model, Needs, Normalization, Outputs, Split
from kdharness.distillers.registry import DISTILLERS
from kdharness.models.registry import MODELS
from kdharness.models.resnet import ResNet
from kdharness.training import frozen, sharing
from kdharness.training.cohort import train_cohort
from kdharness.training.data import Data, Point
from kdharness.training.frozen import frozen_forward
from kdharness.training.members import Member
from kdharness.training.sharing import Teachers
from kdharness.training.table_filling import TabledTeacher
from kdharness.training.table_shelf import TableShelf

RECIPE = Recipe(epochs=2, batch_size=48, lr=0.05, augment="shift1")
TRAIN = 150


class Pictures:
    """150 random images of 4 classes for training (30 of them validation images where asked), 20 for testing."""

    name = "pictures"
    num_classes = 4
    image_shape = (3, 8, 8)
    normalization = Normalization((0.5,) * 3, (0.25,) * 3)
    fingerprint = "pictures"
    train_size, test_size, streamed = TRAIN, 20, False
    recipe = teacher_recipe = "digits-quick"

    def split(self, part: Literal["train", "val", "test"], validation: float = 0.0) -> Split:
        generator = torch.Generator().manual_seed(5)
        images = torch.randint(0, 256, (TRAIN + 20, 3, 8, 8), generator=generator, dtype=torch.uint8)
        labels = torch.randint(0, 4, (TRAIN + 20,), generator=generator)
        held = 30 if validation else 0
        begin, end = {"train": (held, TRAIN), "val": (0, held), "test": (TRAIN, TRAIN + 20)}[part]
        return Split(images[begin:end], labels[begin:end], torch.arange(begin, end) - (TRAIN if part == "test" else 0))


@pytest.fixture(autouse=True)
def _real_names(monkeypatch: pytest.MonkeyPatch, _toys: None) -> None:
    monkeypatch.setattr("kdharness.distillers.sums.DISTILLERS", DISTILLERS)
    monkeypatch.setattr("kdharness.training.sharing.MODELS", MODELS)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows the teacher computes each time that it is asked."""
    asked: list[int] = []

    def counted(model: Model, images: torch.Tensor, precision: Precision) -> Outputs:
        asked.append(len(images))
        return frozen_forward(model, images, precision)

    monkeypatch.setattr(frozen, "frozen_forward", counted)
    return asked


def weights(scale: float = 1.0) -> dict[str, torch.Tensor]:
    with seeded("a teacher", 0):
        state = MODELS.get("resnet14").build(4, (3, 8, 8)).state_dict()
    return {key: value * scale if value.is_floating_point() else value for key, value in state.items()}


def setting(distiller: str = "kd", validation: float = 0.0, teachers: int = 1, **changes: Any) -> Setting:
    name = RunKey(setting_key="f" * 64, seed=0)
    recipe = RECIPE.model_copy(update={key: value for key, value in changes.items() if key in Recipe.model_fields})
    config = DISTILLERS.get(distiller).Config()
    if distiller == "crd":
        config = config.model_copy(update={"negatives": 20})
    return Setting(
        dataset="pictures",
        fingerprint="pictures",
        validation=validation,
        student="resnet8",
        student_revision=1,
        teachers=tuple(Teacher(model="resnet14", revision=1, run=name) for _ in range(teachers)),
        distiller=distiller,
        distiller_revision=1,
        constants=canonical(config),
        recipe=recipe,
        control=changes.get("control", "trained"),
    )


def member(of: Setting, seed: int = 0, run_id: str = "run", resume: Any = None) -> Member:
    trained = [weights(1 - 0.1 * number) for number, _ in enumerate(of.teachers)] if of.control != "untrained" else []
    return Member(run_id, of, seed, tuple(trained), resume)


def train(*members: Member, tables: Path | None, sink: Recorder | None = None) -> Recorder:
    sink = sink or Recorder()
    train_cohort(members, Pictures(), Execution(tables=tables), sink)
    for error in sink.errors.values():
        raise error
    return sink


def weights_hash(of: Setting, tables: Path | None, seed: int = 0) -> str:
    return train(member(of, seed), tables=tables).results["run"].weights_sha256


def teacher_at(tables: Path) -> TabledTeacher:
    """As kd asks it."""
    teachers = Teachers(Data(Pictures(), Execution(tables=tables)))
    network = teachers.get(setting().teachers, [weights()], "tf32")
    tabled = teachers.tabled(network, Needs(), None)
    assert tabled is not None
    return tabled


@pytest.mark.parametrize("augment", ["shift1", "crop4-flip"])
@pytest.mark.parametrize("distiller", ["kd", "dkd", "luminet", "crd"])
def test_cold_and_warm_tables_give_the_bits_of_none(
    distiller: str, augment: str, tmp_path: Path, computed: list[int]
) -> None:
    this = setting(distiller, augment=augment)
    alone = weights_hash(this, None)
    assert computed == [48, 48, 48, 6] * 2
    computed.clear()
    assert weights_hash(this, tmp_path) == alone
    assert computed  # cold
    computed.clear()
    assert weights_hash(this, tmp_path) == alone
    assert computed == []  # warm


def test_one_table_serves_seeds_epochs_batch_sizes_methods_and_validation_splits(
    tmp_path: Path, computed: list[int]
) -> None:
    filled = list(teacher_at(tmp_path).fill(Point.of(setting(), 0, 1, 0)))
    assert filled[-1] == (9 * TRAIN, 9 * TRAIN)
    for this, seed in (
        (setting("dkd", batch_size=20), 1),
        (setting(validation=0.2, batch_size=64), 2),
        (setting("mlkd"), 3),  # two views
        (setting(control="shuffled"), 4),
    ):
        alone = weights_hash(this, None, seed)
        weights_hash(this, tmp_path, seed)  # batches of sizes not seen before are tried
        computed.clear()
        assert weights_hash(this, tmp_path, seed) == alone
        assert computed == []
    assert len(TableShelf(tmp_path).tables()) == 1


def test_a_cached_teacher_is_no_cached_crop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a table the student sees what it sees without one: each image anew in every epoch."""
    this, seen, images = setting(augment="crop4-flip", epochs=3), list[tuple[Point, torch.Tensor]](), Data.images

    def noted(data: Data, point: Point) -> torch.Tensor:
        seen.append((point, images(data, point)))
        return seen[-1][1]

    monkeypatch.setattr(Data, "images", noted)
    runs = []
    for tables in (None, tmp_path, tmp_path):  # none, cold, warm
        weights_hash(this, tables)
        runs.append(seen.copy())
        seen.clear()
    for run in runs[1:]:
        assert [point for point, _ in run] == [point for point, _ in runs[0]]
        assert all(torch.equal(ours, theirs) for (_, ours), (_, theirs) in zip(run, runs[0], strict=True))
    pictures: dict[int, set[bytes]] = {}
    data = Data(Pictures(), Execution())
    for point, batch in runs[2]:
        for row, picture in zip(data.rows(point).tolist(), batch, strict=True):
            pictures.setdefault(row, set()).add(picture.numpy().tobytes())
    assert len(pictures) == TRAIN and sum(map(len, pictures.values())) > 2.9 * TRAIN  # of 3 epochs


@pytest.mark.parametrize(
    "changes",
    [
        {"teachers": 2},
        {"control": "untrained"},
        {"precision": "fp64"},
        {"precision": "bf16"},
        {"image_size": 12},
        {"teacher_image_size": 4},
        {"normalization": "imagenet"},
        {"augment": "none", "batch_size": 8},
        {"drop_last": True},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_whatever_changes_the_rows_has_a_table_of_its_own(
    changes: dict[str, Any], tmp_path: Path, computed: list[int]
) -> None:
    weights_hash(setting(), tmp_path)
    this = setting(**changes)
    alone = weights_hash(this, None)
    assert weights_hash(this, tmp_path) == alone
    computed.clear()
    assert weights_hash(this, tmp_path) == alone
    assert computed == []
    assert len(TableShelf(tmp_path).tables()) == (1 if changes == {"drop_last": True} else 2)


@pytest.mark.parametrize(
    ("distiller", "augment"), [("fitnet", "shift1"), ("kd", "crop4-flip-trivialaugment"), ("ofd", "shift1")]
)
def test_no_table_for_stages_train_mode_and_endless_views(distiller: str, augment: str, tmp_path: Path) -> None:
    weights_hash(setting(distiller, augment=augment, epochs=1), tmp_path)
    assert TableShelf(tmp_path).tables() == []


def test_a_member_that_has_everything_computed_shares_it(tmp_path: Path, computed: list[int]) -> None:
    both = train(member(setting("fitnet"), run_id="fitnet"), member(setting(), run_id="kd"), tables=tmp_path)
    assert computed == [48, 48, 48, 6] * 2
    assert both.results["kd"].weights_sha256 == weights_hash(setting(), None)
    other_way = train(member(setting(), run_id="kd"), member(setting("fitnet"), run_id="fitnet"), tables=tmp_path)
    for name in ("kd", "fitnet"):
        assert other_way.results[name].weights_sha256 == both.results[name].weights_sha256


def test_seeds_side_by_side_and_a_resume_between_two_batches(tmp_path: Path) -> None:
    alone = [weights_hash(setting(), None, seed) for seed in range(2)]
    stopped = Recorder(stop_after=5)
    train(*(member(setting(), seed, f"{seed}") for seed in range(2)), tables=tmp_path, sink=stopped)
    points = [stopped.ends[f"{seed}"][-1].state for seed in range(2)]
    ends = train(*(member(setting(), seed, f"{seed}", points[seed]) for seed in range(2)), tables=tmp_path)
    assert [ends.results[f"{seed}"].weights_sha256 for seed in range(2)] == alone


def test_a_flipped_bit_on_the_disk_moves_none_of_the_run(
    tmp_path: Path, computed: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    alone = weights_hash(setting(), tmp_path)
    (table,) = TableShelf(tmp_path).tables()
    blocks = table.folder / "blocks"
    data = bytearray(blocks.read_bytes())
    data[600] ^= 1
    blocks.write_bytes(data)
    for asked in ([64], []):  # filled again, once
        computed.clear()
        assert weights_hash(setting(), tmp_path) == alone
        assert computed == asked
    assert caplog.text.count("block 0 is damaged") == 1


def test_tiles_are_whole_and_nothing_is_asked_twice(tmp_path: Path, computed: list[int]) -> None:
    """A tile answers for more than three batches of 20; the last one looks beyond the last epoch."""
    weights_hash(setting(batch_size=20, epochs=1), tmp_path)
    # tried with five batches, which are kept; a tile for what is left and more; tried for the last batch
    assert computed == [20, *[64] * 4, 64, 16, *[64] * 4]
    computed.clear()
    weights_hash(setting(batch_size=20, epochs=1), tmp_path)
    assert computed == []


class Sociable(ResNet):
    """Its answer for an image depends on those beside it, as with a kernel chosen by the size of the batch."""

    def forward(self, images: torch.Tensor) -> Outputs:
        outputs = super().forward(images)
        return Outputs(outputs.logits + 1e-3 * outputs.logits.mean(), outputs.pooled, outputs.stages)


class OfItsSize(ResNet):
    """Its bits depend on how many images stand beside, not on which."""

    def forward(self, images: torch.Tensor) -> Outputs:
        outputs = super().forward(images)
        factor = 1.0 if len(images) == 64 or len(images) == 48 else 1.001
        return Outputs(outputs.logits * factor, outputs.pooled, outputs.stages)


@pytest.mark.parametrize(("network", "kept"), [(Sociable, False), (OfItsSize, True)])
def test_a_teacher_whose_rows_depend_on_the_batch_is_asked_itself(
    network: type[ResNet],
    kept: bool,
    tmp_path: Path,
    computed: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fresh(model: str, data: Data, image_size: int | None = None) -> Model:
        if model != "resnet14":
            return original(model, data, image_size)
        return network(2, (16, 16, 32, 64), 4, (3, 8, 8)).to(memory_format=data.layout)

    original = sharing.fresh
    monkeypatch.setattr(sharing, "fresh", fresh)
    alone = weights_hash(setting(), None)
    assert weights_hash(setting(), tmp_path) == alone
    computed.clear()
    assert weights_hash(setting(), tmp_path) == alone
    assert computed == ([6, 6] if kept else [48, 48, 48, 6] * 2)  # remembered: nothing is tried again
    assert "other bits than tiles" in caplog.text


def test_filling_whole_goes_on_where_it_was_stopped(tmp_path: Path, computed: list[int]) -> None:
    point = Point.of(setting(), 0, 1, 0)
    first = teacher_at(tmp_path).fill(point, tiles=3)
    begun = next(first)[0]
    assert begun <= 2 * 64  # what was tried
    assert [next(first) for _ in range(2)] == [(begun + 192, 1350), (begun + 384, 1350)]
    computed.clear()
    rest = list(teacher_at(tmp_path).fill(point, tiles=3))
    assert rest[0] == (begun + 384, 1350) and rest[1] == (begun + 576, 1350) and rest[-1] == (1350, 1350)
    assert len(computed) == -(-(1350 - begun - 384) // 64)
