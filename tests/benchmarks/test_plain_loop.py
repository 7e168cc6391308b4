import json
import sys

import pytest
import torch

from kdharness.benchmarks import plain_loop, step
from kdharness.benchmarks.plain_loop import PlainRun, train_loader
from kdharness.benchmarks.runs import EIGHT, PLAIN, SIXTEEN, members, study_text, teacher_weights, wanted
from kdharness.core.records import Execution
from kdharness.datasets.registry import DATASETS
from kdharness.datasets.synthetic import Synthetic
from kdharness.training.cohort import train_cohort
from kdharness.training.data import Data, Point

PAIR = "resnet14 -> resnet8"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return Synthetic(tmp_path_factory.mktemp("none"), train_size=640, test_size=64)


@pytest.fixture(scope="module")
def teacher(dataset):
    return teacher_weights("resnet14", dataset)


def test_the_rows_are_different_settings_that_read_logits():
    assert [len({run.setting.key for run in wanted(study_text(PAIR, rows))}) for rows in (PLAIN, EIGHT, SIXTEEN)] == [
        1,
        8,
        16,
    ]


def test_the_teacher_is_the_same_every_time_and_its_logits_are_tame(dataset, teacher):
    again = teacher_weights("resnet14", dataset)
    assert all(torch.equal(teacher[key], again[key]) for key in teacher)
    run = wanted(study_text(PAIR, PLAIN))[0]
    data = Data(dataset, Execution())
    plain = PlainRun(run.setting, 0, teacher, dataset)
    with torch.no_grad():
        logits = plain.teacher(data.inputs(Point.of(run.setting, 0, 1, 0)).images).logits
    assert 0.05 < logits.std() < 20


class FirstLoss:
    """A sink that stops after the first step of a run and keeps the mean loss that it had."""

    def __init__(self):
        self.loss = None

    def stop_requested(self):
        return True

    def checkpoint_due(self, run_id):
        return False

    def epoch_end(self, run_id, end):
        self.loss = float(end.state["sums"]["loss"]) / 64

    def finished(self, run_id, result): ...

    def failed(self, run_id, error):
        raise error


@pytest.mark.parametrize("number", [0, 4, 5, 6])  # kd, dkd, KD+LS, luminet
def test_both_loops_compute_the_same_loss(dataset, teacher, number):
    """Same initial student, teacher, batch and method: what differs is layout and order of sums, not the work."""
    member = members(study_text(PAIR, EIGHT), teacher)[number]
    sink = FirstLoss()
    train_cohort([member], dataset, Execution(), sink)
    inputs = Data(dataset, Execution(layout="contiguous")).inputs(Point.of(member.setting, 0, 1, 0))
    plain = PlainRun(member.setting, 0, teacher, dataset)
    loss, top1, top5 = plain.step(inputs.images, inputs.labels, epoch=1)
    assert loss == pytest.approx(sink.loss, rel=1e-4)
    assert 0 <= top1 <= top5 <= 100


def test_the_loader_gives_crops_of_the_images(dataset):
    images, labels = next(iter(train_loader(dataset.split("train"), dataset.normalization)))
    assert (images.shape, images.dtype) == ((64, 3, 32, 32), torch.float32)
    mean, std = dataset.normalization.mean[0], dataset.normalization.std[0]
    pixels = (images * std + mean) * 255
    assert torch.allclose(pixels, pixels.round(), atol=1e-3)  # bytes, before they were normalised
    assert labels.dtype == torch.int64


@pytest.fixture
def own_registry(monkeypatch):
    """The plug-in's dataset is there for this test alone."""
    monkeypatch.delitem(sys.modules, "kdharness.benchmarks.images", raising=False)
    for part in ("_items", "_aliases"):
        monkeypatch.setattr(DATASETS, part, dict(getattr(DATASETS, part)))
    yield
    sys.modules.pop("kdharness.benchmarks.images", None)


def test_the_process_trains_tests_and_says_what_came_out(tmp_path, own_registry, capsys):
    """As `bench study` runs it, cut to its first run."""
    list(DATASETS)  # the room's own are registered first
    from kdharness.benchmarks.images import NAME, small

    text = study_text("resnet8 -> resnet8", EIGHT, dataset=NAME, epochs=1, seeds=2)
    assert len({run.run_id for run in wanted(text)}) == 16
    (tmp_path / "bench.yaml").write_text(text)
    torch.save(dict(teacher_weights("resnet8", small(tmp_path))), tmp_path / "teacher.pt")
    plain_loop.main([str(tmp_path / "bench.yaml"), str(tmp_path / "teacher.pt"), "1"])
    (said,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (said["label"], said["seed"]) == ("kd", 0)
    assert 0 <= said["test_top1"] <= 100
    assert said["cpu"] > 0
    assert (tmp_path / "student_latest.pt").exists()


class Turns:
    """Counts the rounds, and how often the teacher was asked in each."""

    def __init__(self):
        self.asked = [0]

    def next_round(self):
        self.asked.append(0)
        return True


def test_a_warm_step_asks_no_teacher(tmp_path, monkeypatch):
    """The harness's side of `bench step`: the cold runs fill the table that the warm ones read."""
    from kdharness.training import frozen

    turns = Turns()
    real = frozen.frozen_forward

    def spied(*arguments):
        turns.asked[-1] += 1
        return real(*arguments)

    monkeypatch.setattr(frozen, "frozen_forward", spied)
    monkeypatch.setattr(step, "IMAGES", 640)
    text = study_text("resnet8 -> resnet8", PLAIN)
    step.harness_side(turns, [text, text], "resnet8 -> resnet8", Execution(tables=tmp_path), 3, 2)
    first, cold, warm, last = turns.asked[0], turns.asked[1:4], turns.asked[4:7], turns.asked[7:]
    assert (first, last) == (0, [0])
    assert cold[1:] == [2, 2]  # one for each step
    assert sum(warm) == 0
