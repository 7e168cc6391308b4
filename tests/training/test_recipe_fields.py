"""What each field of a recipe does to a run, and that no field lets a neighbour or an interruption show."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_resume import interrupted, same
from toys import RECIPE, Colours, member, result, setting, train

from kdharness.core.records import Execution, Precision, Recipe
from kdharness.core.types import BuildContext
from kdharness.training.augmentation import AUGMENTATIONS
from kdharness.training.cohort import Finished
from kdharness.training.course import Course
from kdharness.training.data import Data, Point
from kdharness.training.frozen import frozen_forward
from kdharness.training.inputs import shrunk
from kdharness.training.sharing import Teachers

ADAMW = {"optimizer": "adamw", "schedule": "cosine", "milestones": (), "warmup_epochs": 1, "warmup_lr": 1e-4}


def recipe(**fields: Any) -> Recipe:
    return Recipe.model_validate(RECIPE.model_dump() | fields)


def point(name: str, size: int = 20, position: int = 0, **fields: Any) -> Point:
    return Point(0.0, name, "fp64", size, 1, 2, position, **fields)


MEANS = {
    "none": 0.19728278566679774,
    "shift1": 0.0305938511044486,
    "crop4-flip": -0.3334636373886911,
    "crop4-flip-randaugment": -0.34078160096597754,
    "crop4-flip-autoaugment": -0.35092577571461564,
    "crop4-flip-trivialaugment": -0.4663889988428586,
    "rotate20-flip": 0.13976064971587893,
    "resized-crop-flip": 0.20410993857616558,
    "resized-crop-flip-randaugment-erasing": 0.23770242188187082,
}
"""Of a batch's normalised values, weighted by their places: they change only with the engine's revision."""


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_depends_on_its_coordinates_alone(name: str) -> None:
    data = Data(Colours(), Execution())
    whole = data.images(point(name))
    assert whole.shape == (20, 3, 8, 8)
    parts = [data.images(point(name, 7, position)) for position in range(3)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(Data(Colours(), Execution()).images(point(name)), whole)
    assert name == "none" or not torch.equal(data.images(point(name).second(RECIPE)), whole)
    places = torch.linspace(0, 1, whole.numel(), dtype=torch.float64).view_as(whole)
    assert (whole * places).mean().item() == pytest.approx(MEANS[name], rel=1e-9)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_gpu_sees_the_same_bytes(name: str) -> None:
    here, there = (Data(Colours(), Execution(device=device)).images(point(name, image_size=24)) for device in
                   ("cpu", "cuda"))  # fmt: skip
    assert torch.allclose(here, there.cpu(), rtol=1e-12, atol=1e-12)  # in float64; a byte is 0.01


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if AUGMENTATIONS[name].policy])
def test_a_cohort_sees_what_each_sees_alone(name: str) -> None:
    fields = [{"augment": name}, {"augment": "crop4-flip", "second_view": name}, {"augment": "crop4-flip"}]
    settings = [setting("everything", recipe=recipe(**each)) for each in fields]
    members = [member(each, run_id=str(number), channels=3) for number, each in enumerate(settings)]
    together = train(*members, data=Colours())
    assert not together.errors, together.errors
    hashes = [together.results[str(number)].weights_sha256 for number in range(3)]
    assert hashes == [result(each, data=Colours()).weights_sha256 for each in settings]
    assert len(set(hashes)) == 3


def test_grey_and_odd_images() -> None:
    with_two = train(member(setting("alone", recipe=recipe(augment="crop4-flip-randaugment"))))
    assert "grey or RGB" in str(with_two.errors["run"])
    of_imagenet = train(member(setting("alone", recipe=recipe(normalization="imagenet"))))
    assert "normalization imagenet is for RGB" in str(of_imagenet.errors["run"])


def test_image_sizes() -> None:
    data = Data(Colours(), Execution())
    of = setting("taught", recipe=recipe(image_size=12, teacher_image_size=4, normalization="imagenet"))
    run = Course(member(of, channels=3), data, Teachers(data))
    assert run._run.student.shapes["stage1"] == (4, 12, 12)
    assert run._run.teacher is not None
    assert run._run.teacher.shapes["stage1"] == (6, 4, 4)
    assert data.context(0.0, False, 12) == BuildContext(3, 20, (3, 12, 12))

    here = Point.of(of, 0, 1, 0)
    shared = Teachers(data).round()
    inputs = shared.inputs(here)
    assert inputs.images.shape == (8, 3, 12, 12)
    answer = shared.answer(run._run.teacher, here, None, inputs, 4)
    want = frozen_forward(run._run.teacher, shrunk(inputs.images, 4), "tf32")
    assert torch.equal(answer.logits, want.logits)
    assert answer.stages["stage1"].shape == (8, 6, 4, 4)
    assert torch.equal(run._run._partner_forward(inputs.images).logits, want.logits)

    stored, seen = Colours().split("test").images, data.evaluation(0.0, 12).images
    for image, resized in zip(stored, seen, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((12, 12), Image.Resampling.BILINEAR)
        assert np.array_equal(resized.permute(1, 2, 0).numpy(), np.asarray(picture))
    assert data.normalization("imagenet").mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", ["taught", "everything", "mutual"])
def test_image_sizes_train(name: str) -> None:
    of = setting(name, recipe=recipe(image_size=6, teacher_image_size=4))
    if name == "everything":  # its regressor's output meets the teacher's map: sizes must agree
        of = setting(name, recipe=recipe(image_size=6))
    assert result(of).weights_sha256 != result(setting(name)).weights_sha256


def test_drop_last() -> None:
    sink = train(member(setting("alone", recipe=recipe(drop_last=True))))
    assert [end.step for end in sink.ends["run"]] == [2, 4]  # of 20 images in batches of 8
    assert sink.ends["run"][0].metrics["train_top1"] % (100 / 16) == 0
    assert [end.step for end in train(member(setting("alone"))).ends["run"]] == [3, 6]
    alone = train(member(setting("alone", recipe=recipe(drop_last=True, batch_size=32))))
    assert "leaves no batch of 32 in 20 images" in str(alone.errors["run"])


@pytest.mark.parametrize("name", ["taught", "everything", "mutual"])
def test_recorded_gradients_change_nothing(name: str) -> None:
    plain, recorded = (train(member(setting(name, recipe=recipe(record=record)))) for record in ((), ("gradients",)))
    assert plain.results["run"].weights_sha256 == recorded.results["run"].weights_sha256
    assert plain.results["run"].sealed == recorded.results["run"].sealed
    terms = {"taught": {"ce", "kd"}, "mutual": {"ce", "kd"}}.get(
        name, {"ce", "hint", "tails", "bank", "classifier", "dropout"}
    )
    ends = [(one.metrics, other.metrics) for one, other in zip(plain.ends["run"], recorded.ends["run"], strict=True)]
    first, last = next(other for one, other in ends if one), ends[-1][1]
    added = {f"train_gradient_{term}" for term in terms} | {"train_gradient"}
    assert {key for key in first if "gradient" in key} == added
    assert {key for key in last if "gradient" in key} - added == (
        {"train_gradient_late"} if name == "everything" else set()
    )
    assert all(other[key] == value for one, other in ends for key, value in one.items() if key != "train_seconds")


def test_gradients_are_those_of_the_weighted_terms() -> None:
    def first(**constants: float) -> dict[str, float]:
        of = setting("taught", recipe=recipe(record=("gradients",), batch_size=20), **constants)
        return dict(train(member(of)).ends["run"][0].metrics)

    only, one, two = first(kd_weight=0.0), first(kd_weight=1.0), first(kd_weight=2.0)
    assert "train_gradient_kd" not in only  # of weight 0: not computed
    assert only["train_gradient"] == pytest.approx(only["train_gradient_ce"], rel=1e-6)
    assert two["train_gradient_kd"] == pytest.approx(2 * one["train_gradient_kd"], rel=1e-6)
    assert two["train_gradient_ce"] == one["train_gradient_ce"]
    longest = one["train_gradient_ce"] + one["train_gradient_kd"]
    assert abs(one["train_gradient_ce"] - one["train_gradient_kd"]) <= one["train_gradient"] <= longest


@pytest.mark.parametrize(
    "fields",
    [ADAMW, {"nesterov": True, "weight_decay_on": "matrices"}, {"record": ("gradients",), "drop_last": True}],
    ids=["adamw", "nesterov", "recorded"],
)
def test_stopped_at_every_step(fields: dict[str, Any], tmp_path: Any) -> None:
    of = setting("taught", recipe=recipe(**fields))
    whole = train(member(of))
    for step in range(1, whole.ends["run"][-1].step):
        resumed = train(member(of, resume=interrupted(of, step, tmp_path)))
        assert same(resumed.results["run"], whole.results["run"]), f"stopped after step {step}"
        last = [{key: value for key, value in sink.ends["run"][-1].metrics.items() if key != "train_seconds"}
                for sink in (resumed, whole)]  # fmt: skip
        assert last[0] == last[1]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
def test_neighbours_change_nothing_at_any_precision(precision: Precision) -> None:
    settings = {name: setting(name, recipe=recipe(precision=precision)) for name in ("taught", "everything")}
    together = train(*(member(of, seed, f"{name}-{seed}") for name, of in settings.items() for seed in (0, 1)))
    assert not together.errors
    for name, of in settings.items():
        alone = result(of, 1)
        assert together.results[f"{name}-1"].weights_sha256 == alone.weights_sha256
        assert all(value.isfinite().all() for value in alone.weights.values())
        wanted = torch.float64 if precision == "fp64" else torch.float32
        assert {value.dtype for value in alone.weights.values() if value.is_floating_point()} == {wanted}


def test_precisions_of_a_cpu() -> None:
    """A CPU multiplies float32 exactly whatever is asked of it, and bf16 is another training that learns as well."""
    products = torch.backends.cuda.matmul.fp32_precision

    def run(precision: Precision) -> Finished:
        return result(setting("alone", recipe=recipe(precision=precision, epochs=4, batch_size=4)))

    tf32, fp32, bf16, fp64 = (run(precision) for precision in ("tf32", "fp32", "bf16", "fp64"))
    assert tf32.weights_sha256 == fp32.weights_sha256 != bf16.weights_sha256
    assert torch.backends.cuda.matmul.fp32_precision == products
    assert bf16.metrics["train_loss_last"] == pytest.approx(fp32.metrics["train_loss_last"], rel=0.05)
    for key, value in fp64.weights.items():
        assert torch.allclose(value.float(), fp32.weights[key].float(), rtol=1e-3, atol=1e-4), key
