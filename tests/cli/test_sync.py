"""The mirror equals the store: every run, parameter and metric, and again after MLflow lost some."""

import json
import math
import shutil
import subprocess
import sys

import pytest
from small_study import CANARY, SECRET

from kdharness.core.home import Home
from kdharness.tracking.mlflow import open_mlflow, sqlite_uri
from kdharness.tracking.ui import ui_command, wait_until_up

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of SQLAlchemy 2.1


def mirrored(home):
    """run id -> (tags, params, final metrics, {metric: [(epoch, value)]}) of the children in MLflow."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=sqlite_uri(Home(home)))
    (experiment,) = [one for one in client.search_experiments() if one.name == "small"]
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(children) == len(runs) - 1
    artifacts = {item.path.rsplit("/", 1)[-1] for item in client.list_artifacts(parents[0].info.run_id)}
    assert any(name.endswith(".yaml") for name in artifacts)
    found = {}
    for run in children:
        curve = client.get_metric_history(run.info.run_id, "test_top1")
        points = sorted((point.step, point.value) for point in curve)
        assert any("settings" in item.path for item in client.list_artifacts(run.info.run_id))
        found[run.data.tags["kdharness.run_id"]] = (run.data.tags, run.data.params, run.data.metrics, points)
    return found, client, {run.data.tags["kdharness.run_id"]: run.info.run_id for run in children}


def rows(kdharness, home):
    return [json.loads(line) for line in kdharness("export", "small", "--json", "--home", home).out.splitlines()]


def compare(home, exported):
    """The MLflow store in `home` holds what the results export."""
    found, client, ids = mirrored(home)
    assert set(found) == {row["run_id"] for row in exported}
    for row in exported:
        tags, params, metrics, points = found[row["run_id"]]
        assert {name: metrics[name] for name in row["metrics"]} == row["metrics"]
        assert all(math.isfinite(value) for _, value in points)
        assert points[-1][1] == row["metrics"]["test_top1_last"]
        assert len(points) == row["settings"]["recipe"]["epochs"]
        assert params["recipe.lr"] == str(row["settings"]["recipe"]["lr"])
        assert tags["kdharness.setting_key"] == row["setting_key"]
        assert {"commit", "host", "device", "label", "pair"} <= set(tags)
        if row["distiller"] == "kd":
            assert params["kd.temperature"] == "2"  # as people write it
    return client, ids


def test_sync_makes_mlflow_equal_and_again_after_a_loss(kdharness, finished, tmp_path, monkeypatch):
    home = tmp_path / "home"
    shutil.copytree(finished, home)
    for name in SECRET:
        monkeypatch.setenv(name, CANARY)
    told = kdharness("sync", "--home", home)
    assert told.code == 0 and "told MLflow 5 records" in told.out
    exported = rows(kdharness, home)
    client, ids = compare(home, exported)
    assert "told MLflow 0 records" in kdharness("sync", "--home", home).out
    client.delete_run(next(iter(ids.values())))
    assert "told MLflow 5 records" in kdharness("sync", "--all", "--home", home).out
    compare(home, exported)

    written = [path for path in home.rglob("*") if path.is_file()]
    assert len(written) > 20 and not [path for path in written if CANARY.encode() in path.read_bytes()]


def test_a_ui_that_ends_by_itself_is_no_success(kdharness, tmp_path, monkeypatch):
    from kdharness.tracking import ui

    command = ui.UiCommand((sys.executable, "-c", "print('no port')"), {}, "http://127.0.0.1:9", {})
    monkeypatch.setattr(ui, "ui_command", lambda home, port: command)
    monkeypatch.setattr(ui, "wait_until_up", lambda url, alive: None)
    answer = kdharness("ui", "--home", tmp_path)
    assert answer.code == 3
    assert "has ended by itself" in answer.err and "ui.log" in answer.err
    assert (tmp_path / "ui.log").read_text() == "no port\n"


def test_sync_makes_a_server_equal_that_the_users_pyproject_names(kdharness, finished, tmp_path, monkeypatch):
    """A real one, a process of its own. Nothing is told to it before it is there, and nothing to the home's store."""
    home, place = tmp_path / "home", Home.at(tmp_path / "server")
    shutil.copytree(finished, home)
    open_mlflow(place)
    server = ui_command(place)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text(f'[tool.kdharness]\nmlflow = "{server.url}"\n')
    refused = kdharness("sync", "--home", home)
    assert refused.code == 3 and server.url in refused.err and "Nothing is lost" in refused.err
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(server.argv, env=dict(server.environment), stdout=log, stderr=log)
    try:
        wait_until_up(server.url, lambda: process.poll() is None)
        assert "told MLflow 5 records" in kdharness("sync", "--home", home).out
        assert "told MLflow 0 records" in kdharness("sync", "--home", home).out
    finally:
        process.terminate()
        process.wait(20)
    compare(place.root, rows(kdharness, home))
    assert not (home / "mlflow.db").exists()
