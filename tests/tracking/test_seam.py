"""The tracker seam without MLflow: the null tracker, what a run is called, and the lean UI's command."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.home import Home
from kdharness.testing.tracker import check_tracker, completed, example_run
from kdharness.tracking import entries, ui
from kdharness.tracking.mlflow import MlflowTracker, installed
from kdharness.tracking.null import NullTracker
from kdharness.tracking.tracker import RunView


class Keeping(NullTracker):
    """The null tracker with ids of its own per study: what the conformance asks of a tracker."""

    def start(self, run: RunView) -> str:
        return f"{run.study.name}/{run.identity}"


class Forgetful(NullTracker):
    def __init__(self) -> None:
        self.count = 0

    def start(self, run: RunView) -> str:
        self.count += 1
        return str(self.count)


def test_conformance_of_a_tracker_in_memory() -> None:
    check_tracker(Keeping)


def test_conformance_notices_a_tracker_that_creates_twice() -> None:
    with pytest.raises(AssertionError, match="finds what it created"):
        check_tracker(Forgetful)


def test_names_params_and_tags() -> None:
    run = replace(completed(example_run("KD+LS")), axes={"temperature": 2.0})
    assert entries.run_name(run) == "KD+LS (temperature=2) resnet20->resnet8 seed 0"
    assert entries.params(run)["kd.standardize"] == "none" and entries.params(run)["teacher"] == "none"
    assert "kdharness.reused_from" not in entries.tags(run)
    assert entries.tags(replace(run, facts={"": "x", "a=b": "y", "empty": ""}))["a_b"] == "y"


def test_folders_of_studies_with_odd_names_differ() -> None:
    assert entries.folder("quickstart") == "quickstart"
    assert len({entries.folder(name) for name in ("a/b", "a b", "a-b", "../x")}) == 4
    assert "/" not in entries.folder("../../etc")


def test_the_seam_imports_no_mlflow() -> None:
    code = "import sys, kdharness.tracking.mlflow, kdharness.tracking.ui as u; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_mlflow_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ui, "installed", lambda: False)
    with pytest.raises(EnvironmentRefused, match=r"kdharness\[mlflow\]"):
        ui.ui_command(Home(tmp_path))


def test_the_ui_refuses_a_taken_port_and_an_empty_home(tmp_path: Path) -> None:
    if not installed():
        pytest.skip("MLflow is not installed")
    with pytest.raises(BadInput, match="nothing is mirrored"):
        ui.ui_command(Home(tmp_path))
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        with pytest.raises(EnvironmentRefused, match="taken"):
            ui.ui_command(Home(tmp_path), taken.getsockname()[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_ui_answers_with_two_processes(home: Home, tracker: MlflowTracker) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tracker.start(example_run(study="seen in the UI"))
    command = ui.ui_command(home, port)
    assert command.pages["seen in the UI"].startswith(f"http://127.0.0.1:{port}/#/experiments/")
    log = home.root / "ui.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command.argv, env=dict(command.environment), stdout=output, stderr=output, start_new_session=True
        )
    try:
        ui.wait_until_up(command.url, lambda: process.poll() is None)
        with urllib.request.urlopen(command.url, timeout=10) as page:
            assert b"MLflow" in page.read()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1, log.read_text()
    finally:
        process.terminate()
        process.wait(20)


def test_a_ui_that_dies_is_noticed() -> None:
    with pytest.raises(EnvironmentRefused, match="ended before"):
        ui.wait_until_up("http://127.0.0.1:9", lambda: False)
