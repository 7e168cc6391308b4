"""What people say of runs by commands: it shows everywhere, and undoing it leaves everything as it was."""

import json
import shutil

import pytest

from kdharness.core.errors import ExitCode


@pytest.fixture
def home(finished, tmp_path):
    """A copy of the finished home that may be written to."""
    place = tmp_path / "home"
    place.mkdir()
    shutil.copy(finished / "results.db", place / "results.db")
    return place


def run_ids(kdharness, home, label="KD"):
    lines = map(json.loads, kdharness("export", "small", "--home", home).out.splitlines())
    return [row["run_id"] for row in lines if row["label"] == label]


def test_notes_and_tags_are_shown(kdharness, home):
    run_id = run_ids(kdharness, home)[0]
    assert kdharness("note", run_id, "odd curve", "--home", home).out == f"noted on {run_id}\n"
    assert kdharness("note", "small", "before the move", "--home", home).out == "noted on small\n"
    assert kdharness("tag", run_id, "paper", "fig-2", "--home", home).out == f"{run_id}: fig-2 paper\n"
    assert kdharness("tag", run_id, "--remove", "paper", "--home", home).out == f"{run_id}: fig-2\n"
    shown = kdharness("show", run_id, "--home", home).out
    assert "odd curve" in shown and "tags fig-2" in shown
    assert "before the move" in kdharness("status", "small", "--home", home).out
    refused = kdharness("tag", run_id, "a b", "--home", home)
    assert refused.code == ExitCode.BAD_INPUT and "is no tag" in refused.err


def test_an_excluded_run_leaves_the_mean_and_comes_back(kdharness, home):
    first, second = run_ids(kdharness, home)
    before = kdharness("report", "small", "--format", "md", "--home", home).out
    assert kdharness("exclude", first, "--home", home).code == 2, "a reason is asked for"
    assert kdharness("exclude", first, "--reason", "the fan stopped", "--home", home).code == 0
    report = json.loads(kdharness("report", "small", "--format", "json", "--home", home).out)
    cell = next(cell for cell in report["tables"][0]["cells"] if cell["row"] == "KD")
    assert (cell["runs"], cell["n"], cell["wanted"]) == ([second], 1, 2)
    assert "the fan stopped" in report["tables"][0]["footnotes"][0]["text"]
    text = kdharness("report", "small", "--format", "md", "--home", home).out
    assert "(1/2†)" in text.replace("<sup>", "").replace("</sup>", ""), text
    assert first in kdharness("status", "small", "--home", home).out
    assert kdharness("include", first, "--home", home).out == "1 run counts again\n"
    assert kdharness("report", "small", "--format", "md", "--home", home).out == before
    assert kdharness("include", first, "--home", home).code == ExitCode.BAD_INPUT


def test_a_finished_study_has_nothing_to_cancel(kdharness, home):
    assert kdharness("cancel", "small", "--home", home).out == "nothing to cancel\n"
    assert kdharness("cancel", run_ids(kdharness, home)[0], "--home", home).out == "nothing to cancel\n"
    assert kdharness("cancel", "nobody", "--home", home).code == ExitCode.BAD_INPUT
