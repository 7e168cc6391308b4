"""`list distillers`, `new distiller` and `try`: what is there, a start of one's own, and what is broken in it."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdharness.core.types import Batch, BuildContext, NetworkView, Outputs
from kdharness.distillers.kd import KD
from kdharness.distillers.listing import ListedDistiller, list_distillers
from kdharness.distillers.registry import DISTILLERS
from kdharness.runtime import trying


def test_every_method_stands_in_the_list_with_its_source(kdharness):
    listed = {row["name"]: row for row in json.loads(kdharness("list", "distillers", "--json").out)}
    assert set(listed) == set(DISTILLERS)
    assert listed["dkd"]["equals"].startswith("mdistiller a08d46f, distillers/DKD.py; with zscore, Sun et al.")
    assert listed["dkd"]["paper"] == "Zhao, Cui, Song, Qiu, Liang, CVPR 2022"
    assert listed["blockkd"]["equals"] is None and listed["blockkd"]["no_public_code"]
    assert listed["blockkd"]["needs"] == ["feature maps", "the teacher's blocks"]
    assert listed["mlkd"]["needs"] == ["two views"] and listed["dml"]["needs"] == ["a peer"]
    assert listed["none"]["family"] == "control" and listed["kd"]["family"] == "logits"
    for name, row in listed.items():
        assert (row["equals"] is not None) != row["no_public_code"], f"{name} does not say whose numbers it gives"


def test_the_list_is_a_table(kdharness):
    lines = kdharness("list", "distillers").out.splitlines()
    (row,) = [line.split() for line in lines if line.startswith("dkd ")]
    assert " ".join(row) == "dkd logits Zhao et al., CVPR 2022 - mdistiller a08d46f"
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize(
    ("paper", "short", "status"),
    [
        ("Ours. No public code.", "Ours", "no public code"),
        ("Ba and Caruana, NeurIPS 2014.", "Ba and Caruana, NeurIPS 2014", "not stated"),
        ("A, B, C, ICLR 2020. Equals them 123abcd, a.py; with x, us 4.", "A et al., ICLR 2020", "them 123abcd"),
    ],
)
def test_what_a_paper_string_says(paper, short, status, monkeypatch):
    monkeypatch.setattr(KD, "paper", paper)
    (listed,) = [one for one in list_distillers() if one.name == "kd"]
    assert isinstance(listed, ListedDistiller)
    assert (listed.short_paper, listed.status) == (short, status)


FOLLOWED = """
from kdharness.cli.app import main
from kdharness.runtime import trying

trying.STEPS, trying.TEACHER_STEPS = 20, 10
try:
    main()
except SystemExit as end:
    assert not end.code
import test_rank_loss  # written beside the method

test_rank_loss.test_laws()
test_rank_loss.test_by_hand()
"""
"""The command that `new` names, with fewer steps, and then the test that it wrote."""


def test_a_new_distiller_works_as_it_stands(kdharness, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = kdharness("new", "distiller", "rank_loss")
    assert answer.code == 0
    said, _, following = answer.out.strip().partition("; next: kdharness ")
    assert said == "wrote rank_loss.py and test_rank_loss.py"
    done = subprocess.run(
        [sys.executable, "-c", FOLLOWED, *following.split(), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tried = json.loads(done.stdout)
    assert tried["distiller"] == "rank_loss" and tried["broken"] == {} and "finite" in tried["laws"]
    assert [term["name"] for term in tried["course"]["terms"]] == ["ce", "match"]
    for term in tried["course"]["terms"]:
        assert term["last"] < term["first"] and term["gradient"] > 0


def test_nothing_is_overwritten(kdharness, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_mine.py").write_text("kept")
    answer = kdharness("new", "distiller", "mine")
    assert answer.code == 2 and "test_mine.py exists already" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["test_mine.py"]
    assert (tmp_path / "test_mine.py").read_text() == "kept"


@pytest.mark.parametrize(
    ("name", "said"), [("KD", "'KD' cannot be"), ("class", "'class' cannot be"), ("kd", "there is a distiller 'kd'")]
)
def test_names_that_cannot_be_taken(kdharness, tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    answer = kdharness("new", "distiller", name)
    assert answer.code == 2 and said in answer.err and not list(tmp_path.iterdir())


class NotANumberLater(KD):
    """L = CE, until the third step."""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        terms = super().losses(student, teacher, batch)
        return {**terms, "kd": torch.where(batch.step < 2, terms["kd"], torch.nan)}


class Overflowing(KD):
    """L = CE, by a logarithm of what may be 0."""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        likelihood = student.logits.softmax(1).gather(1, batch.labels[:, None])
        return {**super().losses(student, teacher, batch), "ce": -likelihood.log().mean()}


class Mistaken(KD):
    """L = CE"""

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        return nn.Linear(*student.shapes["stage9"])


@pytest.fixture
def few_steps(monkeypatch):
    for name, steps in (("STEPS", 5), ("PLAIN_STEPS", 5), ("TEACHER_STEPS", 5)):
        monkeypatch.setattr(trying, name, steps)


@pytest.mark.parametrize(
    ("method", "law", "said"),
    [
        (NotANumberLater, "steps", "the loss is nan at step 3"),
        (Overflowing, "finite", "ce is inf with logits x 1e4"),
        (Mistaken, "steps", "KeyError: 'stage9' (test_distiller_commands.py:"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_what_is_broken_is_named(kdharness, few_steps, monkeypatch, method, law, said):
    monkeypatch.setattr(trying.sums, "canonical_method", str.lower)
    monkeypatch.setattr(trying.sums, "method", lambda name: method)
    answer = kdharness("try", "mine")
    assert answer.code == 1
    assert f"FAILED {law}: {said}" in answer.out


def test_a_sound_method_in_a_short_table(kdharness, few_steps):
    answer = kdharness("try", "FitNet")
    assert answer.code == 0 and "FAILED" not in answer.out
    assert answer.out.startswith("fitnet: Romero") and len(answer.out.splitlines()) <= 15
    (hint,) = [line.split() for line in answer.out.splitlines() if line.startswith("hint ")]
    assert len(hint) == 5 and float(hint[1]) == 100 and float(hint[4]) > 0
    # stage2 of both: a 1x1 convolution of 32 channels with a bias, and a batch norm
    assert f"adapters      {32 * 32 + 32 + 64:,} parameters" in answer.out


def test_an_unknown_name_is_bad_input(kdharness):
    answer = kdharness("try", "luminnet")
    assert answer.code == 2 and "did you mean 'luminet'" in answer.err
    assert "one of your own comes with `kdharness --plugin MODULE ...`" in answer.err


def test_a_sum_of_methods_is_tried_like_one(few_steps):
    tried = trying.try_distiller("LumiNet + dkd")
    assert tried.distiller == "dkd + luminet" and not tried.broken and tried.course is not None
    assert [term.name for term in tried.course.terms] == ["ce", "dkd_tckd", "dkd_nckd", "luminet_kd"]


def test_two_views_and_peers_are_tried_too(few_steps):
    for name in ("mlkd", "dml"):
        tried = trying.try_distiller(name)
        assert not tried.broken and tried.course is not None
        assert tried.course.kept_mib > 1.5 * tried.plain.kept_mib
    assert tried.teacher_top1 is None


def test_the_command_sits_in_no_other_s_way():
    """Nothing of torch is imported to say what `try` and `new` are."""
    code = "import sys; import kdharness.cli.distillers; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path.cwd())
