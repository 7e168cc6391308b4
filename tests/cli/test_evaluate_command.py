"""`kdharness evaluate` on a finished study."""

import json
import shutil

import pytest


@pytest.fixture(scope="module")
def own(finished, tmp_path_factory):
    """A copy of the finished study that may be written to."""
    return shutil.copytree(finished, tmp_path_factory.mktemp("own") / "home")


def test_a_study_is_analysed_once_and_its_tables_show_it(kdharness, own):
    first = kdharness("evaluate", "small", "--analysis", "calibration", "--analysis", "fidelity", "--home", own)
    assert first.code == 0, first.err
    assert "KD, resnet8 -> resnet8, seed 0" in first.out and "computed calibration, fidelity" in first.out
    assert "no fidelity: without a trained teacher" in first.out
    again = kdharness("evaluate", "small", "--analysis", "calibration", "--home", own)
    assert "computed" not in again.out and "known calibration" in again.out
    table = kdharness("report", "small", "--metric", "test_ece", "--format", "md", "--home", own)
    assert table.code == 0 and "ECE" in table.out and "(2)" in table.out


def test_json_is_a_line_for_each_run(kdharness, own):
    said = kdharness("evaluate", "small", "--analysis", "entropy", "--home", own, "--json").out.splitlines()
    runs = [json.loads(line) for line in said]
    assert len(runs) == 5 and all(run["metrics"]["test_entropy"] > 0 for run in runs)


def test_what_cannot_be_meant_is_refused(kdharness, own):
    assert "unknown analysis 'calib'" in kdharness("evaluate", "small", "--analysis", "calib", "--home", own).err
    assert "neither a study nor a run" in kdharness("evaluate", "smal", "--home", own).err


def test_a_study_that_asks_for_analyses_gets_them_when_it_is_run(own, tmp_path):
    from rich.console import Console
    from small_study import STUDY

    from kdharness.core.home import Home
    from kdharness.results.store import Store
    from kdharness.runtime.command import run_command

    (tmp_path / "small.yaml").write_text(STUDY + "evaluate: [logits]\n")
    with (tmp_path / "out.txt").open("w") as out, pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdharness.runtime.command.mlflow_installed", lambda: False)
        assert run_command(tmp_path / "small.yaml", Home(own), console=Console(file=out), in_process=True) == 0
    said = (tmp_path / "out.txt").read_text()
    assert "0 new, 5 reused" in said and "analysed 5 finished students: logits" in said
    assert all("test_logit_std" in row.metrics for row in Store(Home(own)).rows("small"))
