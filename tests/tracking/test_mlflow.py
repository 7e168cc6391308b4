"""The mirror in MLflow: what a person finds there, and that repeating a write changes nothing."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace

import pytest

from kdharness.core.home import Home
from kdharness.testing.hostile_server import hostile
from kdharness.testing.tracker import START_MS, check_tracker, completed, example_run
from kdharness.tracking.mlflow import MlflowTracker, open_mlflow
from kdharness.tracking.tracker import RunView, TrackerError

from .conftest import Race

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of SQLAlchemy 2.1


def mirrored(tracker: MlflowTracker, run: RunView) -> str:
    external_id = tracker.start(run)
    tracker.log(external_id, run)
    if run.ended:
        tracker.finish(external_id, run)
    return external_id


def study(name: str, run: RunView) -> RunView:
    return replace(run, study=replace(run.study, name=name))


def test_conformance(home: Home, tracker: MlflowTracker) -> None:
    check_tracker(lambda: MlflowTracker(tracker.client, tracker.uri, home.mlflow_artifacts))


def test_a_finished_run_is_there_in_full(home: Home, tracker: MlflowTracker) -> None:
    run = study("full", completed(example_run("KD+LS")))
    external_id = mirrored(tracker, replace(run, reused_from="older"))
    found = tracker.client.get_run(external_id)
    assert found.info.run_name == "KD+LS resnet20->resnet8 seed 0"
    assert (found.info.status, found.info.start_time, found.info.end_time) == ("FINISHED", START_MS, START_MS + 60_000)
    params = found.data.params
    assert (params["kd.temperature"], params["recipe.lr"], params["recipe.milestones"]) == ("4", "0.05", "[18, 24]")
    assert (params["distiller"], params["student"], params["seed"]) == ("kd", "resnet8", "0")
    tags = found.data.tags
    assert tags["label"] == "KD+LS" and tags["pair"] == "resnet20 -> resnet8" and tags["purpose"] == "final"
    assert tags["host"] == "here" and tags["device"] == "cpu" and tags["mlflow.source.git.commit"] == "0" * 40
    assert tags["kdharness.run_id"] == run.run_id and tags["kdharness.setting_key"] == run.setting.key
    assert tags["kdharness.reused_from"] == "older" and tags["state"] == "complete"
    assert found.data.metrics["test_top1_last"] == 73.0
    settings = home.mlflow_artifacts / "full" / external_id / "artifacts" / "settings.json"
    assert json.loads(settings.read_text())["setting"]["constants"]["temperature"] == 4.0
    assert found.inputs.dataset_inputs[0].dataset.name == "digits"


def test_curves_have_our_epochs_and_times_once(tracker: MlflowTracker) -> None:
    run = study("curves", example_run())
    external_id = tracker.start(run)
    tracker.log(external_id, run)
    tracker.log(external_id, run)
    tracker.finish(external_id, replace(completed(run), logged_epoch=3))
    tracker.finish(external_id, replace(completed(run), logged_epoch=3))
    for name, first in (("train_loss", 2.0), ("test_top1", 71.0)):
        history = tracker.client.get_metric_history(external_id, name)
        assert [(point.step, point.timestamp) for point in history] == [(e, START_MS + e * 1000) for e in (1, 2, 3)]
        assert history[0].value == first


def test_an_experiment_holds_a_parent_and_its_children(home: Home, tracker: MlflowTracker) -> None:
    runs = [study("nested", example_run(seed=seed)) for seed in (0, 1)]
    children = {mirrored(tracker, run) for run in runs}
    experiment = tracker.client.get_experiment_by_name("nested")
    found = tracker.client.search_runs([experiment.experiment_id])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert len(found) == 3 and len(parents) == 1
    assert {run.info.run_id for run in found} - {parents[0].info.run_id} == children
    assert all(
        run.data.tags.get("mlflow.parentRunId", parents[0].info.run_id) == parents[0].info.run_id for run in found
    )
    text = home.mlflow_artifacts / "nested" / parents[0].info.run_id / "artifacts" / "study.yaml"
    assert text.read_text() == runs[0].study.text
    edited = replace(runs[0], study=replace(runs[0].study, text="study: edited\n"))
    tracker.start(edited)
    assert text.read_text() == "study: edited\n"
    tracker.describe(edited.study, "| method | top-1 |", finished=True)
    parent = tracker.client.get_run(parents[0].info.run_id)
    assert parent.data.tags["mlflow.note.content"] == "| method | top-1 |" and parent.info.status == "FINISHED"


def test_a_retried_run_is_running_again(tracker: MlflowTracker) -> None:
    run = study("retried", example_run())
    external_id = mirrored(tracker, replace(run, state="failed", finished_ms=START_MS + 5))
    assert tracker.client.get_run(external_id).info.status == "FAILED"
    tracker.log(external_id, replace(run, logged_epoch=3))
    assert tracker.client.get_run(external_id).info.status == "RUNNING"


def test_more_than_a_call_takes(tracker: MlflowTracker) -> None:
    run = example_run(epochs=450)  # 1,350 values
    constants = {f"c{number}": number for number in range(150)}
    run = study("large", replace(run, setting=run.setting.model_copy(update={"constants": constants})))
    external_id = mirrored(tracker, run)
    assert len(tracker.client.get_metric_history(external_id, "train_loss")) == 450
    assert tracker.client.get_run(external_id).data.params["kd.c149"] == "149"


def test_nothing_of_a_deleted_experiment_is_lost(tracker: MlflowTracker) -> None:
    run = study("deleted", example_run())
    mirrored(tracker, run)
    experiment = tracker.client.get_experiment_by_name("deleted").experiment_id
    tracker.client.delete_experiment(experiment)
    MlflowTracker(tracker.client, tracker.uri, tracker._artifacts).start(run)
    assert tracker.client.get_experiment(experiment).lifecycle_stage == "active"


def test_whatever_goes_wrong_is_a_tracker_error(tracker: MlflowTracker) -> None:
    with pytest.raises(TrackerError, match="sync"):
        tracker.log("no-such-run", study("wrong", example_run()))


def test_a_hanging_server_is_given_up_soon(tracker: MlflowTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stops answering after it was opened."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with hostile("hangs") as uri:
        client = type(tracker.client)(tracking_uri=uri)
        began = time.monotonic()
        with pytest.raises(TrackerError, match=r"127\.0\.0\.1"):
            MlflowTracker(client, uri, None).start(example_run())
        assert time.monotonic() - began < 8.0


@pytest.mark.parametrize(("kind", "said"), [("hangs", "timed out"), ("answers 500", "500"), ("resets", "reset")])
def test_a_server_that_is_not_there_costs_no_import_of_mlflow(
    home: Home, monkeypatch: pytest.MonkeyPatch, kind: str, said: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "0.3")
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with hostile(kind) as uri, pytest.raises(TrackerError, match=said):
        open_mlflow(home, uri)
    with pytest.raises(TrackerError, match="refused"):
        open_mlflow(home, uri)


def test_two_processes_open_a_fresh_store_together(race: Race, tracker: MlflowTracker) -> None:
    assert race.codes == [0, 0], race.said
    assert len({out for out, _ in race.said}) == 2
    assert {"raced 0", "raced 1"} <= {experiment.name for experiment in tracker.client.search_experiments()}
