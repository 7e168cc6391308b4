"""Telling a tracker what the store holds: from the outbox's marks, through the tracker's verbs, until it is equal."""

from collections.abc import Callable
from dataclasses import replace

from kdharness.core.errors import BadInput
from kdharness.results.mirror_records import MirrorView, OutboxRow
from kdharness.results.records import EpochMetric
from kdharness.results.store import Store
from kdharness.tracking.tracker import EpochMetrics, RunView, StudyView, Tracker, TrackerError

BATCH = 100
_FAILURES_IN_A_ROW = 3
"""One record that the tracker refuses does not hold up the others; several in a row mean that it is not there."""


def drain(store: Store, tracker: Tracker, stop: Callable[[], bool] = lambda: False) -> int:
    """Tell all that the outbox marks, and describe the studies it touched; how many records were told.

    Raises TrackerError once the tracker has failed three times in a row, or if it refused single records: those stay
    in the outbox.
    """
    told = 0
    touched: set[str] = set()
    refused: dict[int, TrackerError] = {}
    while rows := [row for row in store.outbox(BATCH + len(refused)) if row.id not in refused]:
        failures = 0
        done: list[int] = []
        try:
            for row in rows:
                if stop():
                    return told + len(done)
                try:
                    _tell(store, tracker, row)
                except TrackerError as error:
                    refused[row.id] = error
                    failures += 1
                    if failures == _FAILURES_IN_A_ROW:
                        raise
                else:
                    failures = 0
                    done.append(row.id)
                    if row.what != "epoch":  # a table changes with a run's state, not with its epochs
                        touched.add(row.study)
        finally:
            store.outbox_done(done)
            told += len(done)
    for study in sorted(touched):
        describe(store, tracker, study)
    if refused:
        raise next(iter(refused.values()))
    return told


def run_view(store: Store, view: MirrorView) -> RunView:
    """What the tracker is shown of a (study, run)."""
    epochs: dict[int, list[EpochMetric]] = {}
    for metric in view.epoch_metrics:
        epochs.setdefault(metric.epoch, []).append(metric)
    facts = store.run(view.run_id)
    shown = [row for row in facts.rows if (row.study, row.label, row.pair) == (view.study, view.label, view.pair)]
    spec = store.study(view.study).spec
    return RunView(
        study=StudyView(view.study, view.study_text, str(spec.get("about") or ""), view.study_path),
        run_id=view.run_id,
        setting=facts.setting,
        seed=view.seed,
        purpose=view.purpose,
        label=view.label,
        pair=view.pair,
        state=view.state,
        epochs=tuple(
            EpochMetrics(epoch, max(metric.at_ms for metric in group), {metric.name: metric.value for metric in group})
            for epoch, group in sorted(epochs.items())
        ),
        metrics=view.metrics,
        started_ms=view.started_ms,
        finished_ms=view.finished_ms,
        numerics_key=facts.numerics_key,
        axes=shown[0].axes if shown else {},
        provenance=view.provenance,
        facts={name.removeprefix("kdharness."): value for name, value in view.tags.items()},
        reused_from=view.reused_from,
        external_id=view.external_id,
        logged_epoch=view.logged_epoch,
    )


def _tell(store: Store, tracker: Tracker, row: OutboxRow) -> None:
    view = store.mirror_view(row.study_run_id)
    if view is None:  # the study no longer asks for the run
        return
    run = run_view(store, view)
    try:
        external_id = view.external_id
        if external_id is None or row.what in ("asked", "study"):
            external_id = tracker.start(run)
            if external_id != view.external_id:  # new to the tracker: all epochs are
                run = replace(run, external_id=external_id, logged_epoch=0)
        logged = tracker.log(external_id, run)
    except TrackerError:
        if view.external_id is None:
            raise
        run = replace(run, external_id=None, logged_epoch=0)  # someone emptied the tracker: tell all of it again
        external_id = tracker.start(run)
        logged = tracker.log(external_id, run)
    if run.ended:
        tracker.finish(external_id, run)
    store.mirror_save(row.study_run_id, external_id=external_id, logged_epoch=logged, finished=run.ended)


def describe(store: Store, tracker: Tracker, study: str) -> None:
    """Show the study's tables as they stand on top of it."""
    from kdharness.reporting.render import render
    from kdharness.runtime.reports import study_tables

    row = store.study(study)
    ended = not any(row.states.get(state) for state in ("waiting", "running"))
    try:
        text = render(study_tables(store, [study], failed=[]), "md")
    except BadInput as error:  # a table that needs runs which are not there yet
        text = str(error)
    view = StudyView(row.name, row.text, str(row.spec.get("about") or ""), row.path)
    tracker.describe(view, text, finished=ended)
