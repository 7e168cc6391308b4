"""The queue: what a planner has to know of every run of a study."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from sqlalchemy import Connection, RowMapping, func, select

from kdharness.core.records import Purpose
from kdharness.results import schema
from kdharness.results.database import Database
from kdharness.results.encoding import among, dumps, listing, owner_of
from kdharness.results.leases import ALONE, is_expired
from kdharness.results.records import Common, QueueRow
from kdharness.results.studies import study_id_of

_PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
"""In the order of work: a run that serves as a teacher anywhere goes first."""
_BATCHES = ("batch_size", "drop_last", "augment", "second_view", "image_size", "normalization", "precision")
"""The recipe's part in a batch."""
_COMMON: dict[str, Common] = {}  # by setting key, which is a hash: true in every database

_DEATHS = (
    select(schema.Attempt.run_id, func.count())
    .join(schema.Run, schema.Run.run_id == schema.Attempt.run_id)
    .where(schema.Run.state == "waiting", schema.Attempt.outcome == "lost", ~schema.Attempt.counted)
    .group_by(schema.Attempt.run_id)
)


def queue(database: Database, study: str | None) -> list[QueueRow]:
    """See Store.queue."""
    label = schema.StudyLabel
    shown_as = (label.row, label.purpose, label.label, label.axes, label.pair)
    runs = (
        select(schema.Run, schema.Setting.epochs, schema.Setting.student, *shown_as)
        .join(schema.Setting, schema.Setting.setting_key == schema.Run.setting_key)
        .join(schema.StudyRun, schema.StudyRun.run_id == schema.Run.run_id)
        .join(label, label.study_run_id == schema.StudyRun.study_run_id)
        .order_by(label.study_label_id)
    )
    needs = select(schema.RunNeed.run_id, schema.RunNeed.needs_run_id).order_by(schema.RunNeed.needs_run_id)
    with database.read() as connection:
        if study is not None:
            this = schema.StudyRun.study_id == study_id_of(connection, study)
            runs = runs.where(this)
            needs = needs.join(schema.StudyRun, schema.StudyRun.run_id == schema.RunNeed.run_id).where(this)
        needed: dict[str, list[str]] = {}
        for run_id, need in connection.execute(needs):
            needed.setdefault(run_id, []).append(need)
        found: dict[str, list[RowMapping]] = {}
        for row in connection.execute(runs).mappings():
            found.setdefault(row["run_id"], []).append(row)
        alone = set(connection.scalars(ALONE))
        deaths: dict[str, int] = {row[0]: row[1] for row in connection.execute(_DEATHS)}
        excluded = set(connection.scalars(select(schema.Exclusion.run_id)))
        _learn_common(connection, {shown[0]["setting_key"] for shown in found.values()})
        rows = [
            _queue_row(
                shown,
                tuple(dict.fromkeys(needed.get(run_id, ()))),
                run_id in alone,
                deaths.get(run_id, 0),
                run_id in excluded,
            )
            for run_id, shown in found.items()
        ]
    return sorted(rows, key=lambda one: (one.purpose != "teacher", one.seed, one.row))


def _learn_common(connection: Connection, setting_keys: set[str]) -> None:
    """Read each setting once in the life of this process: the queue is asked for every second."""
    new = setting_keys - _COMMON.keys()
    if not new:
        return
    table = schema.Setting
    settings = select(table.setting_key, table.canonical).where(table.setting_key.in_(among("new")))
    for key, canonical in connection.execute(settings, {"new": listing(new)}):
        _COMMON[key] = common_of(json.loads(canonical))


def common_of(form: Mapping[str, Any]) -> Common:
    """Read out of a setting's canonical form; what it leaves out is equal where it is left out."""
    recipe = form["recipe"]
    batches = {name: form[name] for name in ("dataset", "fingerprint", "validation") if name in form}
    batches |= {name: recipe[name] for name in _BATCHES if name in recipe}
    teachers = form.get("teachers", [])
    trained = any(teacher.get("run") or teacher.get("weights_sha256") for teacher in teachers)
    return Common(dumps(batches), dumps([teachers, recipe.get("teacher_image_size")]) if trained else "")


@cache
def _axes(text: str) -> tuple[tuple[str, Any], ...]:
    """Of a label; parsed once in the life of this process."""
    return tuple(json.loads(text).items())


def _queue_row(shown: list[RowMapping], needs: tuple[str, ...], alone: bool, deaths: int, excluded: bool) -> QueueRow:
    """One run; where several labels show it, it is named by the first and works for the most urgent."""
    run = shown[0]
    return QueueRow(
        run_id=run["run_id"],
        state=run["state"],
        seed=run["seed"],
        row=min(one["row"] for one in shown),
        purpose=min((one["purpose"] for one in shown), key=_PURPOSES.index),
        needs=needs,
        owner=owner_of(run),
        slot=run["slot"],
        attempts=run["attempts"],
        fence=run["fence"],
        epoch=run["epoch"],
        epochs=run["epochs"],
        lease_expired=is_expired(run),
        label=run["label"],
        axes=_axes(run["axes"]),
        pair=run["pair"],
        student=run["student"],
        common=_COMMON[run["setting_key"]],
        alone=alone,
        deaths=deaths,
        excluded=excluded,
        reason=run["reason"],
        message=run["message"],
    )
