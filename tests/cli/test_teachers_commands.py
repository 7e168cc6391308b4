"""The commands about teachers: what they print, what they refuse with exit code 2, and that the real reader is used."""

import json
import os

import pytest
import torch

from kdharness.core.errors import ExitCode
from kdharness.models.registry import MODELS


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "resnet8_vanilla" / "ckpt_epoch_240.pth"
    path.parent.mkdir()
    torch.manual_seed(0)
    torch.save({"model": MODELS.get("resnet8").build(10, (3, 8, 8)).state_dict(), "epoch": 240}, path)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory, good):
    """A home with one import, made by the command as a user types it. Only read it."""
    from typer.testing import CliRunner

    from kdharness.cli.app import app

    place = tmp_path_factory.mktemp("imported")
    arguments = ["teachers", "import", str(good), "--dataset", "digits", "--name", "mine", "--home", str(place)]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    assert "mine: resnet8 for digits, " in answer.output
    return place


def test_list_and_show_say_what_is_known(kdharness, home, good, finished):
    (row,) = json.loads(kdharness("teachers", "list", "--json", "--home", home).out)
    assert (row["name"], row["origin"], row["model"], row["dataset"]) == ("mine", "imported", "resnet8", "digits")
    assert row["verified"] and row["measured_top1"] < 50 and row["declared_top1"] is None
    assert row == json.loads(kdharness("teachers", "show", "mine", "--json", "--home", home).out)
    assert f"{row['measured_top1']:.2f}" in kdharness("teachers", "list", "--home", home).out
    assert str(good) in kdharness("teachers", "show", "mine", "--home", home).out
    (trained,) = json.loads(kdharness("teachers", "list", "--json", "--home", finished).out)
    assert trained["origin"] == "trained" and trained["measured_top1"] > 50 and trained.keys() == row.keys()
    assert kdharness("teachers", "show", "yours", "--home", home).code == ExitCode.BAD_INPUT


def test_verify_measures_again_or_says_that_there_is_nothing_to_do(kdharness, home):
    assert "nothing to verify" in kdharness("teachers", "verify", "--home", home).out
    (row,) = json.loads(kdharness("teachers", "verify", "mine", "--json", "--home", home).out)
    assert (
        row["measured_top1"]
        == json.loads(kdharness("teachers", "list", "--json", "--home", home).out)[0]["measured_top1"]
    )
    assert kdharness("teachers", "verify", "yours", "--home", home).code == ExitCode.BAD_INPUT


def test_export_and_export_model_write_three_files(kdharness, home, finished, tmp_path):
    told = kdharness("teachers", "export", "mine", tmp_path / "mine", "--home", home)
    assert told.code == 0 and sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "card.json", "resnet8.pth", "resnet8.safetensors",
    ]  # fmt: skip
    run_id = json.loads(kdharness("export", "small", "--json", "--home", finished).out.splitlines()[-1])["run_id"]
    assert kdharness("export-model", run_id, "-o", tmp_path / "student", "--home", finished).code == 0
    card = json.loads((tmp_path / "student" / "card.json").read_text())
    assert card["run_id"] == run_id and "test_top1_last" in card["metrics"]
    assert kdharness("export-model", "nothing", "--home", finished).code == ExitCode.BAD_INPUT


class Evil:
    """Unpickling it would leave a canary."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def test_what_is_refused_ends_with_code_2_and_a_paragraph(kdharness, good, tmp_path):
    common = ("--dataset", "digits", "--home", tmp_path / "home")
    evil, fifo = tmp_path / "evil.pth", tmp_path / "fifo.pth"
    torch.save({"model": Evil(tmp_path / "canary")}, evil)
    os.mkfifo(fifo)
    for arguments, said in (
        ((evil, "--model", "resnet8"), "executable code (posix.system)"),
        ((fifo, "--model", "resnet8"), "pipe"),
        ((tmp_path / "none.pth", "--model", "resnet8"), "No such file"),
        ((evil,), "--model"),
        ((evil, "--model", "resnet9"), "did you mean"),
        ((good.parent, "--name", "x"), "one file"),
        ((good.parent, "--normalization", "imagenet"), "--normalization is for one file"),
    ):
        answer = kdharness("teachers", "import", *arguments, *common)
        assert (answer.code, answer.out) == (ExitCode.BAD_INPUT, ""), answer
        assert said in answer.err and "Traceback" not in answer.err
    assert not (tmp_path / "canary").exists()
    assert json.loads(kdharness("teachers", "list", "--json", "--home", tmp_path / "home").out) == []


def test_a_folder_with_a_bad_file_brings_the_good_ones_and_fails(kdharness, good, tmp_path):
    folder = tmp_path / "cifar_teachers"
    for name, content in (("resnet8_vanilla", good.read_bytes()), ("resnet14_vanilla", b"<html>")):
        (folder / name).mkdir(parents=True)
        (folder / name / "ckpt_epoch_240.pth").write_bytes(content)
    answer = kdharness("teachers", "import", folder, "--dataset", "digits", "--json", "--home", tmp_path / "home")
    assert answer.code == ExitCode.BAD_INPUT and "web page" in answer.err
    (row,) = [json.loads(line) for line in answer.out.splitlines()]
    assert row["model"] == "resnet8"
