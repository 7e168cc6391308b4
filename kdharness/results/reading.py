"""What came out: runs, results as studies show them, the ledger."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, func, select

from kdharness.core.errors import BadInput
from kdharness.core.records import RunKey, Setting
from kdharness.results import marks, schema
from kdharness.results.checksums import refuse_changed, refuse_holes, refuse_lost_metrics
from kdharness.results.database import Database, damaged
from kdharness.results.encoding import join_value, known_moment, metric_crc, moment, owner_of, setting_of
from kdharness.results.leases import is_expired
from kdharness.results.records import AttemptRow, EpochMetric, Marks, ResultRow, RunRow
from kdharness.results.studies import study_id_of


def find_run(database: Database, start: str) -> str:
    """See Store.find_run."""
    names = schema.Run.run_id
    with database.read() as connection:
        found = list(connection.scalars(select(names).where(names.startswith(start, autoescape=True)).limit(4)))
        exact = connection.scalar(select(names).where(names == start))
    if exact is not None:
        return exact
    if not found:
        raise BadInput(f"no run begins with {start!r}", remedy="`kdharness export STUDY` lists a study's runs")
    if len(found) > 1:
        raise BadInput(f"{start!r} is the beginning of several runs: {', '.join(sorted(found))}")
    return found[0]


def setting(database: Database, run_id: str) -> tuple[Setting, int]:
    """See Store.setting."""
    with database.read() as connection:
        row = _run(connection, run_id)
    return setting_of(row["canonical"]), row["seed"]


def _run(connection: Connection, run_id: str) -> RowMapping:
    """The row of runs with its setting. Raises BadInput for an unknown run."""
    row = (
        connection.execute(
            select(schema.Run, schema.Setting.canonical, schema.Setting.epochs)
            .join(schema.Setting, schema.Setting.setting_key == schema.Run.setting_key)
            .where(schema.Run.run_id == run_id)
        )
        .mappings()
        .first()
    )
    if row is None:
        raise BadInput(f"unknown run {run_id!r}", remedy="`kdharness status` lists the runs")
    return row


def run(database: Database, run_id: str) -> RunRow:
    """See Store.run."""
    with database.read() as connection:
        row = _run(connection, run_id)
        attempts = connection.execute(
            select(schema.Attempt).where(schema.Attempt.run_id == run_id).order_by(schema.Attempt.number)
        )
        history = tuple(attempt_of(one) for one in attempts.mappings())
        needs = connection.scalars(
            select(schema.RunNeed.needs_run_id)
            .where(schema.RunNeed.run_id == run_id)
            .order_by(schema.RunNeed.needs_run_id)
        )
        needed = tuple(needs)
        rows = tuple(rows_where(connection, schema.Run.run_id == run_id))
        this = select(schema.Run.run_id).where(schema.Run.run_id == run_id)
        metrics = metrics_of(connection, this).get(run_id, {})
        said = marks.marks_of(connection, this).get(run_id, Marks())
    numerics = tuple(json.loads(row["numerics_keys"]))
    return RunRow(
        run_id=run_id,
        setting=setting_of(row["canonical"]),
        setting_key=row["setting_key"],
        seed=row["seed"],
        state=row["state"],
        reason=row["reason"],
        message=row["message"],
        epoch=row["epoch"],
        step=row["step"],
        epochs=row["epochs"],
        attempts=row["attempts"],
        history=history,
        owner=owner_of(row),
        slot=row["slot"],
        lease_expired=is_expired(row),
        needs=needed,
        metrics=metrics,
        numerics_key=numerics[-1] if numerics else None,
        numerics_keys=numerics,
        weights_sha256=row["weights_sha256"],
        teacher_sha256=row["teacher_sha256"],
        device=row["device"],
        started=moment(row["started_ms"]),
        finished=moment(row["finished_ms"]),
        marks=said,
        rows=rows,
    )


def attempt_of(row: RowMapping) -> AttemptRow:
    """The attempt that stands in a row of attempts."""
    owner = owner_of(row)
    assert owner is not None  # its columns are NOT NULL
    return AttemptRow(
        number=row["number"],
        counted=row["counted"],
        outcome=row["outcome"],
        reason=row["reason"],
        message=row["message"],
        owner=owner,
        slot=row["slot"],
        device=row["device"],
        commit=row["git_commit"],
        versions=json.loads(row["versions"] or "{}"),
        numerics_key=row["numerics_key"],
        numerics=json.loads(row["numerics"] or "{}"),
        claimed=known_moment(row["claimed_ms"]),
        started=moment(row["started_ms"]),
        finished=moment(row["finished_ms"]),
    )


def weights_of(database: Database, key: RunKey) -> str | None:
    """See Store.weights_of."""
    this = (schema.Run.setting_key == key.setting_key, schema.Run.seed == key.seed)
    with database.read() as connection:
        return connection.scalar(select(schema.Run.weights_sha256).where(*this))


def predictions(database: Database, run_id: str) -> bytes | None:
    """See Store.predictions."""
    with database.read() as connection:
        return connection.scalar(select(schema.Prediction.packed).where(schema.Prediction.run_id == run_id))


def epoch_metrics(database: Database, run_id: str) -> list[EpochMetric]:
    """See Store.epoch_metrics."""
    with database.read() as connection:
        return epochs_of(connection, run_id)


def epochs_of(connection: Connection, run_id: str) -> list[EpochMetric]:
    """All values of all epochs of a run, by epoch and name."""
    table = schema.EpochMetric
    refuse_changed(connection, table, table.run_id == run_id)
    rows = connection.execute(
        select(table.name, table.epoch, table.value, table.nonfinite, table.at_ms)
        .where(table.run_id == run_id)
        .order_by(table.epoch, table.name)
    )
    return [
        EpochMetric(name, epoch, join_value(value, nonfinite), at_ms) for name, epoch, value, nonfinite, at_ms in rows
    ]


def metrics_of(connection: Connection, run_ids: Select[str]) -> dict[str, dict[str, float]]:
    """Per run its final metrics; runs without any are absent. Raises EnvironmentRefused for one that has changed."""
    table = schema.Metric
    found: dict[str, dict[str, float]] = {}
    for run_id, name, value, nonfinite, crc in connection.execute(
        select(table.run_id, table.name, table.value, table.nonfinite, table.crc)
        .where(table.run_id.in_(run_ids))
        .order_by(table.run_id, table.name)
    ):
        if crc is not None and crc != metric_crc(run_id, name, value, nonfinite):
            raise damaged(f"{name} of run {run_id} is not the number that was committed")
        found.setdefault(run_id, {})[name] = join_value(value, nonfinite)
    return found


_SHOWN = (
    select(
        schema.Run,
        schema.Setting.canonical,
        schema.Setting.dataset,
        schema.Setting.distiller,
        schema.Setting.epochs,
        schema.Study.name.label("study"),
        schema.StudyLabel,
    )
    .join(schema.Setting, schema.Setting.setting_key == schema.Run.setting_key)
    .join(schema.StudyRun, schema.StudyRun.run_id == schema.Run.run_id)
    .join(schema.Study, schema.Study.study_id == schema.StudyRun.study_id)
    .join(schema.StudyLabel, schema.StudyLabel.study_run_id == schema.StudyRun.study_run_id)
    .order_by(schema.Study.name, schema.StudyLabel.extended, schema.StudyLabel.study_label_id)
)


def rows(database: Database, study: str) -> list[ResultRow]:
    """See Store.rows."""
    with database.read() as connection:
        refuse_holes(connection)
        study_id = study_id_of(connection, study)
        found = rows_where(connection, schema.Study.study_id == study_id)
        of_study = schema.StudyRun.study_run_id == schema.StudyLabel.study_run_id
        labels = select(func.count()).select_from(schema.StudyLabel).join(schema.StudyRun, of_study)
        if connection.scalar(labels.where(schema.StudyRun.study_id == study_id)) != len(found):
            raise damaged(f"runs of the study {study} have lost their settings")
        return found


def rows_where(connection: Connection, condition: ColumnElement[bool]) -> list[ResultRow]:
    """As `rows`, of the runs, studies or study_runs that fulfil the condition."""
    shown = _SHOWN.where(condition)
    found = connection.execute(shown).mappings().all()
    run_ids = shown.order_by(None).with_only_columns(schema.Run.run_id)
    refuse_changed(connection, schema.Run, schema.Run.run_id.in_(run_ids))
    refuse_changed(
        connection,
        schema.StudyLabel,
        schema.StudyLabel.study_run_id.in_(shown.order_by(None).with_only_columns(schema.StudyRun.study_run_id)),
    )
    metrics = metrics_of(connection, run_ids)
    said = marks.marks_of(connection, run_ids)
    for key, canonical in {row["setting_key"]: row["canonical"] for row in found}.items():
        if hashlib.sha256(canonical.encode()).hexdigest() != key:
            raise damaged(f"the setting {key[:12]} is not what its key says")
    for row in found:
        if row["run_id"] != RunKey(setting_key=row["setting_key"], seed=row["seed"]).run_id:
            raise damaged(f"the run {row['run_id']} has another setting or seed than it was made with")
        refuse_lost_metrics(row["run_id"], row["metric_names"], metrics.get(row["run_id"], {}))
    parsed: dict[str, Any] = {}  # settings, axes and provenances repeat for every seed

    def load(text: str) -> Any:
        if text not in parsed:
            parsed[text] = json.loads(text)
        return parsed[text]

    return [_row(row, load, metrics.get(row["run_id"], {}), said.get(row["run_id"], Marks())) for row in found]


def _row(row: RowMapping, load: Any, metrics: Mapping[str, float], said: Marks) -> ResultRow:
    numerics = load(row["numerics_keys"])
    return ResultRow(
        study=row["study"],
        run_id=row["run_id"],
        setting_key=row["setting_key"],
        settings=load(row["canonical"]),
        seed=row["seed"],
        state=row["state"],
        purpose=row["purpose"],
        dataset=row["dataset"],
        student=row["student"],
        teacher=row["teacher"],
        teacher_run_id=row["teacher_run_id"],
        pair=row["pair"],
        label=row["label"],
        group=row["group_name"],
        row=row["row"],
        axes=load(row["axes"]),
        against=row["against"],
        ours=row["ours"],
        provenance=load(row["provenance"]),
        distiller=row["distiller"],
        epochs=row["epochs"],
        attempts=row["attempts"],
        numerics_key=numerics[-1] if numerics else None,
        mixed_numerics=len(numerics) > 1,
        weights_sha256=row["weights_sha256"],
        teacher_sha256=row["teacher_sha256"],
        device=row["device"],
        started=moment(row["started_ms"]),
        finished=moment(row["finished_ms"]),
        reason=row["reason"],
        metrics=metrics,
        marks=said,
    )
