"""The short form of `make papers-smoke`: one table and one figure of the papers, the whole way, in this process."""

import shutil
import sys
from pathlib import Path

import pytest
from papers import PAPERS, come_out

from kdharness.cli.app import main


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """One home for the tests of this file."""
    return tmp_path_factory.mktemp("papers")


@pytest.fixture
def here(monkeypatch):
    """The command as the campaign calls it, but in this process and without MLflow."""
    monkeypatch.setattr("kdharness.runtime.command.mlflow_installed", lambda: False)

    def call(out: Path, *arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["kdharness", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return call


def test_a_table_comes_out(place, here):
    """Of networks for 224 pixels, with a row from print: CIFAR's stand for them, and print beside those."""
    found = come_out(PAPERS / "luminet-table-5.yaml", place, "--in-process", call=here)
    assert not found.wrong
    assert (found.runs, found.tables, found.cells, found.figures) == (14, 2, 24, 0)
    text = (place / "home" / "reports" / "luminet-table-5-smoke.md").read_text()
    assert "ResNet32×4 → ResNet8×4 for ResNet56 → DeiT-Ti" in text and "AutoKD" in text


def test_a_figure_comes_out(place, here):
    found = come_out(PAPERS / "ls-figure-3.yaml", place, "--in-process", call=here)
    assert not found.wrong
    assert (found.runs, found.tables, found.figures) == (3, 1, 2)


def test_what_does_not_come_out_is_seen(place, tmp_path):
    """A command that fails, and one that says it is done and has drawn nothing."""
    file, out = PAPERS / "ls-figure-3.yaml", tmp_path / "ls-figure-3"
    failing = come_out(file, tmp_path, call=lambda out, *arguments: 2 if arguments[0] == "report" else 0)
    assert failing.wrong == (f"report ended with 2: see {out / 'said.txt'}",)
    shutil.copytree(place / "home", tmp_path / "home")
    shutil.copy(place / "ls-figure-3" / "tables.json", out)
    assert come_out(file, tmp_path, call=lambda *_: 0).wrong == ("it asks for 1 tables and 2 figures",)
