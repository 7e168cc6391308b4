"""The command in this process, and one finished study that several tests only read."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_study import CANARY, SECRET, STUDY

from kdharness.cli.app import main


@dataclass(frozen=True)
class Answer:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def kdharness(capsys, monkeypatch):
    """`kdharness("check", "study.yaml")` as the console script runs it."""

    def call(*arguments: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["kdharness", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return call


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A home in which STUDY is finished. Only read it."""
    from rich.console import Console

    from kdharness.core.home import Home
    from kdharness.runtime.command import run_command

    place = tmp_path_factory.mktemp("finished")
    (place / "small.yaml").write_text(STUDY)
    with (place / "out.txt").open("w") as out:
        patch = pytest.MonkeyPatch()
        patch.setattr("kdharness.runtime.command.mlflow_installed", lambda: False)
        for name in SECRET:
            patch.setenv(name, CANARY)
        code = run_command(place / "small.yaml", Home(place / "home"), console=Console(file=out), in_process=True)
        patch.undo()
    assert code == 0, (place / "out.txt").read_text()
    return place / "home"
