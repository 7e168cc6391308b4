"""One MLflow store for all tests of the room: its first opening takes seconds, so two processes race for it at once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest

from kdharness.core.home import Home
from kdharness.tracking.mlflow import MlflowTracker, installed, open_mlflow

OPEN = (
    "import sys; from pathlib import Path; from kdharness.core.home import Home;"
    "from kdharness.tracking.mlflow import open_mlflow;"
    "from kdharness.testing.tracker import example_run;"
    "print(open_mlflow(Home(Path(sys.argv[1]))).start(example_run(study='raced ' + sys.argv[2])))"
)


@dataclass
class Race:
    home: Home
    codes: list[int]
    said: list[tuple[str, str]]


@pytest.fixture(scope="session")
def race(tmp_path_factory: pytest.TempPathFactory) -> Race:
    """A fresh store that two processes opened together, each to start a run of a study of its own."""
    if not installed():
        pytest.skip("MLflow is not installed")
    home = Home.at(tmp_path_factory.mktemp("mlflow") / "a home")
    command = [sys.executable, "-c", OPEN, str(home.root)]
    both = [subprocess.Popen([*command, str(n)], stdout=-1, stderr=-1, text=True) for n in (0, 1)]
    said = [process.communicate(timeout=180) for process in both]
    return Race(home, [process.returncode for process in both], said)


@pytest.fixture(scope="session")
def home(race: Race) -> Home:
    return race.home


@pytest.fixture(scope="session")
def tracker(home: Home) -> MlflowTracker:
    return open_mlflow(home)
