"""One MLflow store for all tests of the room: its first opening takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kdharness.core.home import Home
from kdharness.tracking.mlflow import MlflowTracker, open_mlflow


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.at(tmp_path_factory.mktemp("mlflow") / "a home")


@pytest.fixture(scope="session")
def tracker(home: Home) -> Iterator[MlflowTracker]:
    pytest.importorskip("mlflow")
    yield open_mlflow(home)


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path
