"""MLflow as a mirror: one experiment a study, one parent run in it, one nested run for each run of the study.

Only `MlflowClient` is used, every write is batched and may be repeated: records carry our own timestamps, and before
a run is created it is searched by its tag. MLflow is imported in functions: it costs 1.3 s.
"""

import fcntl
import importlib.util
import json
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, TypeVar

from kdharness.core.errors import EnvironmentRefused
from kdharness.core.home import Home
from kdharness.core.keys import canonical
from kdharness.tracking import entries
from kdharness.tracking.tracker import RunView, StudyView, TrackerError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

T = TypeVar("T")

METRICS_PER_CALL, PARAMS_PER_CALL, TAGS_PER_CALL = 1000, 100, 100
NOTE_LENGTH = 8000
"""MLflow's limit for the value of a tag."""

STATUS = {"complete": "FINISHED", "failed": "FAILED", "diverged": "FAILED", "cancelled": "KILLED", "pruned": "KILLED"}

VIEW = "kdharness"
"""The name under which every experiment keeps the view of its runs that the UI's links open."""

_VIEW_STATE = {
    "searchFilter": "",
    "orderByKey": "metrics.`test_top1_last`",
    "orderByAsc": False,
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "datasetsFilter": [],
    "modelVersionFilter": "All Runs",
    "selectedColumns": [
        "metrics.`test_top1_last`", "metrics.`train_top1`", "metrics.`train_loss`", "tags.`label`", "tags.`pair`",
        "params.`seed`", "tags.`purpose`", "tags.`state`", "tags.`device`",
    ],
}  # fmt: skip
"""The UI's own format for a shared view: all runs in one list, best first, with the columns that matter here. Without
it the UI folds the runs under their parent and shows none of their values."""

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
}
"""What MLflow has to know before it is imported: no telemetry; a server that hangs is given up after 10 s, where
MLflow itself waits for about 14 minutes."""


def installed() -> bool:
    """Whether MLflow can be imported, without importing it."""
    return importlib.util.find_spec("mlflow") is not None


def sqlite_uri(home: Home) -> str:
    """The store of a home's own mirror, as an absolute URI."""
    return f"sqlite:///{home.mlflow}"


def open_mlflow(home: Home, uri: str | None = None) -> "MlflowTracker":
    """The tracker of a home: its own `mlflow.db` (made at the first time, under a lock), or the server at `uri`.

    Raises EnvironmentRefused where MLflow is not installed and TrackerError where the place cannot be reached.
    """
    if not installed():
        raise EnvironmentRefused(
            "MLflow is not installed", remedy='pip install "kdharness[mlflow]", then: kdharness sync'
        )
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    place = uri or sqlite_uri(home)
    with _told(place):
        if uri is not None:
            _knock(uri)
        from mlflow.tracking import MlflowClient

        if uri is not None:
            return MlflowTracker(MlflowClient(tracking_uri=uri), place, None)
        home.root.mkdir(parents=True, exist_ok=True)
        # processes that open a fresh store together corrupt it in their race to migrate it
        with Path(f"{home.mlflow}.init").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            client = MlflowClient(tracking_uri=place)
            client.search_experiments(max_results=1)
        return MlflowTracker(client, place, home.mlflow_artifacts)


class MlflowTracker:
    """A Tracker that writes to an MLflow store."""

    def __init__(self, client: "MlflowClient", uri: str, artifacts: Path | None) -> None:
        self.client = client
        self.uri = uri
        self._artifacts = artifacts
        self._parents: dict[str, tuple[str, str]] = {}
        """Study name -> its experiment's id and its parent run's."""
        self._texts: dict[str, str] = {}

    def start(self, run: RunView) -> str:
        """See Tracker.start."""
        with _told(self.uri):
            experiment, parent = self._parent(run.study)
            marks = {"kdharness.identity": entries.identity(run)}
            external_id = self._find(experiment, marks) or self._create(
                experiment, entries.run_name(run), {**marks, "mlflow.parentRunId": parent}, run.started_ms
            )
            from mlflow.entities import Param

            params = [Param(name, value) for name, value in entries.params(run).items()]
            for chunk in _chunks(params, PARAMS_PER_CALL):
                self.client.log_batch(external_id, params=chunk)
            self._log_dataset(external_id, run)
            settings = {"run_id": run.run_id, "seed": run.seed, "setting_key": run.setting.key}
            settings |= {"setting": canonical(run.setting), "provenance": dict(run.provenance)}
            self.client.log_dict(external_id, settings, "settings.json")
            self._tag(external_id, entries.tags(run))
            return external_id

    def log(self, external_id: str, run: RunView) -> int:
        """See Tracker.log."""
        with _told(self.uri):
            news = [epoch for epoch in run.epochs if epoch.epoch > run.logged_epoch]
            values = [(n, v, e.timestamp_ms, e.epoch) for e in news for n, v in e.values.items()]
            self._log(external_id, values)
            self._tag(external_id, entries.tags(run))
            if not run.ended:
                self.client.update_run(external_id, status="RUNNING")  # it may have failed and be tried again
            return max((epoch.epoch for epoch in news), default=run.logged_epoch)

    def finish(self, external_id: str, run: RunView) -> None:
        """See Tracker.finish. Values that were sealed until now are written with the epochs that they belong to."""
        with _told(self.uri):
            last = run.epochs[-1].epoch if run.epochs else 0
            at = run.finished_ms or (run.epochs[-1].timestamp_ms if run.epochs else 0)
            unsealed = [
                (name, value, epoch.timestamp_ms, epoch.epoch)
                for epoch in run.epochs
                for name, value in epoch.values.items()
                if name.startswith("test_") or epoch.epoch > run.logged_epoch
            ]
            final = [(name, value, at, last) for name, value in run.metrics.items()]
            self._log(external_id, unsealed + final)
            self._tag(external_id, entries.tags(run))
            self.client.set_terminated(external_id, status=STATUS[run.state], end_time=run.finished_ms)

    def describe(self, study: StudyView, markdown: str, *, finished: bool) -> None:
        """See Tracker.describe. The whole text is the artifact `tables.md`; a tag holds what fits."""
        with _told(self.uri):
            experiment, parent = self._parent(study)
            note = (
                markdown if len(markdown) <= NOTE_LENGTH else markdown[: NOTE_LENGTH - 40] + "\n\n… (whole: tables.md)"
            )
            self.client.log_text(parent, markdown, "tables.md")
            self.client.set_tag(parent, "mlflow.note.content", note)
            self.client.set_experiment_tag(experiment, "mlflow.note.content", note)
            if finished:
                self.client.set_terminated(parent, status="FINISHED")
            else:
                self.client.update_run(parent, status="RUNNING")

    def _parent(self, study: StudyView) -> tuple[str, str]:
        """The study's experiment and parent run, found or made; the newest study file is among its artifacts."""
        if study.name not in self._parents:
            experiment = self._experiment(study)
            marks = {"kdharness.study": study.name, "kdharness.kind": "study"}
            parent = self._find(experiment, {"kdharness.kind": "study"})
            self._parents[study.name] = experiment, parent or self._create(experiment, study.name, marks, None)
        experiment, parent = self._parents[study.name]
        if self._texts.get(study.name) != study.text:
            self.client.log_text(parent, study.text, PurePath(study.path).name or "study.yaml")
            self._texts[study.name] = study.text
        return experiment, parent

    def _experiment(self, study: StudyView) -> str:
        found = self.client.get_experiment_by_name(study.name)
        if found is None:
            location = str(self._artifacts / entries.folder(study.name)) if self._artifacts else None
            # the kind makes the UI open on runs and charts, not on traces of language models
            tags = {"mlflow.experimentKind": "custom_model_development", "kdharness.study": study.name}
            tags[f"mlflow.sharedViewState.{VIEW}"] = json.dumps(_VIEW_STATE)
            tags |= {"mlflow.note.content": study.about} if study.about else {}
            return str(self.client.create_experiment(study.name, artifact_location=location, tags=tags))
        if found.lifecycle_stage == "deleted":  # by hand, in the UI: the mirror shows what the database holds
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _find(self, experiment: str, marks: dict[str, str]) -> str | None:
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in marks.items())
        found = self.client.search_runs([experiment], wanted, max_results=1)
        return str(found[0].info.run_id) if found else None

    def _create(self, experiment: str, name: str, tags: dict[str, str], start_ms: int | None) -> str:
        made = self.client.create_run(experiment, start_time=start_ms, tags=tags, run_name=name)
        return str(made.info.run_id)

    def _log(self, external_id: str, values: Sequence[tuple[str, float, int, int]]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(name, value, at, step) for name, value, at, step in values]
        for chunk in _chunks(metrics, METRICS_PER_CALL):
            self.client.log_batch(external_id, metrics=chunk)

    def _tag(self, external_id: str, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        for chunk in _chunks([RunTag(name, value) for name, value in tags.items()], TAGS_PER_CALL):
            self.client.log_batch(external_id, tags=chunk)

    def _log_dataset(self, external_id: str, run: RunView) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        held_out = f" minus {run.setting.validation:.0%}" if run.setting.validation else ""
        source = f'{{"dataset": "{run.setting.dataset}", "part": "train{held_out}"}}'
        dataset = Dataset(run.setting.dataset, run.setting.fingerprint[:32], "kdharness", source)
        tags = [InputTag("mlflow.data.context", f"train{held_out}")]
        self.client.log_inputs(external_id, [DatasetInput(dataset, tags)])


def _knock(uri: str) -> None:
    """Raises where nobody answers at the address, or with an error of the server's own: before MLflow is imported."""
    seconds = float(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"])
    try:
        urllib.request.build_opener().open(f"{uri}/health", timeout=seconds).close()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 500:  # whoever refuses this page, or asks who we are, is there
            raise


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """Whatever MLflow raises becomes a TrackerError."""
    try:
        yield
    except TrackerError:
        raise
    except Exception as error:  # MLflow lets through its own, requests', sqlalchemy's and the disk's
        what = f"MLflow did not take it: {_first_line(error)}"
        raise TrackerError(what, where=uri, remedy="Nothing is lost: kdharness sync completes the mirror.") from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
