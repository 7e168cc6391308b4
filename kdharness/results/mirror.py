"""What a tracker is told of one run of one study, what it already knows, and who may tell it."""

from sqlalchemy import RowMapping, delete, func, select
from sqlalchemy.dialects import sqlite

from kdharness.results import schema
from kdharness.results.database import Database
from kdharness.results.encoding import now_ms, owner_columns, owner_of, setting_of
from kdharness.results.leases import is_expired
from kdharness.results.mirror_records import MirrorView
from kdharness.results.owner import Owner, boottime, is_alive
from kdharness.results.reading import epochs_of, rows_where
from kdharness.results.records import ResultRow
from kdharness.results.studies import study_id_of

_ROLE = "mirror"


def view(database: Database, study_run_id: int) -> MirrorView | None:
    """See Store.mirror_view."""
    with database.read() as connection:
        rows = rows_where(connection, schema.StudyRun.study_run_id == study_run_id)
        if not rows:
            return None
        row = rows[0]
        run = (
            connection.execute(
                select(schema.Run.origin_study, schema.Run.started_ms, schema.Run.finished_ms, schema.Setting.canonical)
                .join(schema.Setting, schema.Setting.setting_key == schema.Run.setting_key)
                .where(schema.Run.run_id == row.run_id)
            )
            .mappings()
            .one()
        )
        text = (
            connection.execute(
                select(schema.StudyText)
                .join(schema.StudyRun, schema.StudyRun.study_id == schema.StudyText.study_id)
                .where(schema.StudyRun.study_run_id == study_run_id)
                .order_by(schema.StudyText.number.desc())
                .limit(1)
            )
            .mappings()
            .one()
        )
        attempt = (
            connection.execute(
                select(schema.Attempt)
                .where(schema.Attempt.run_id == row.run_id)
                .order_by(schema.Attempt.number.desc())
                .limit(1)
            )
            .mappings()
            .first()
        )
        known = (
            connection.execute(
                select(schema.Mirror)
                .join(
                    schema.StudyRun,
                    (schema.StudyRun.study_id == schema.Mirror.study_id)
                    & (schema.StudyRun.run_id == schema.Mirror.run_id),
                )
                .where(schema.StudyRun.study_run_id == study_run_id)
            )
            .mappings()
            .first()
        )
        epochs = epochs_of(connection, row.run_id)
    reused_from = run["origin_study"] if run["origin_study"] != row.study else None
    return MirrorView(
        study_run_id=study_run_id,
        study=row.study,
        study_text=text["text"],
        study_path=text["path"],
        run_id=row.run_id,
        label=row.label,
        pair=row.pair,
        purpose=row.purpose,
        state=row.state,
        seed=row.seed,
        epochs=row.epochs,
        params=setting_of(run["canonical"]).flat() | {"seed": row.seed},
        tags=_tags(row, attempt, reused_from),
        settings=row.settings,
        provenance=row.provenance,
        epoch_metrics=tuple(epochs),
        metrics=row.metrics,
        started_ms=run["started_ms"],
        finished_ms=run["finished_ms"],
        reused_from=reused_from,
        external_id=known["external_id"] if known else None,
        logged_epoch=known["logged_epoch"] if known else 0,
        finished=bool(known and known["finished"]),
    )


def _tags(row: ResultRow, attempt: RowMapping | None, reused_from: str | None) -> dict[str, str]:
    tags = {
        "study": row.study,
        "run_id": row.run_id,
        "setting_key": row.setting_key,
        "numerics_key": row.numerics_key,
        "label": row.label,
        "pair": row.pair,
        "purpose": row.purpose,
        "state": row.state,
        "reason": row.reason,
        "device": row.device,
        # said also where there is nothing to say: a tracker keeps a tag that it is not told anew
        "excluded": row.marks.excluded or "no",
        "tags": " ".join(row.marks.tags) or "-",
        "note": row.marks.notes[-1].text if row.marks.notes else None,
        "commit": attempt["git_commit"] if attempt else None,
        "host": attempt["owner_host"] if attempt else None,
        "weights_sha256": row.weights_sha256,
        "teacher_sha256": row.teacher_sha256,
        "reused_from": reused_from,
    }
    return {f"kdharness.{name}": str(value) for name, value in tags.items() if value is not None}


def mirrored(database: Database, study: str) -> dict[str, str]:
    """See Store.mirrored."""
    with database.read() as connection:
        told = select(schema.Mirror.run_id, schema.Mirror.external_id)
        found = connection.execute(told.where(schema.Mirror.study_id == study_id_of(connection, study)))
        return {row.run_id: row.external_id for row in found}


def last_saved(database: Database) -> int | None:
    """See Store.last_mirrored."""
    with database.read() as connection:
        return connection.execute(select(func.max(schema.Mirror.saved_ms))).scalar_one()


def save(database: Database, study_run_id: int, external_id: str, logged_epoch: int, finished: bool) -> None:
    """See Store.mirror_save."""
    told = {"external_id": external_id, "logged_epoch": logged_epoch, "finished": finished, "saved_ms": now_ms()}
    with database.write() as connection:
        pair = connection.execute(
            select(schema.StudyRun.study_id, schema.StudyRun.run_id).where(schema.StudyRun.study_run_id == study_run_id)
        ).first()
        if pair is None:  # the study has stopped asking for it meanwhile
            return
        statement = sqlite.insert(schema.Mirror).values(study_id=pair.study_id, run_id=pair.run_id, **told)
        connection.execute(statement.on_conflict_do_update(index_elements=["study_id", "run_id"], set_=told))


def take_lease(database: Database, owner: Owner, lease_seconds: float) -> bool:
    """See Store.take_mirror_lease."""
    with database.write() as connection:
        held = (
            connection.execute(select(schema.ProcessLease).where(schema.ProcessLease.role == _ROLE)).mappings().first()
        )
        if held is not None:
            holder = owner_of(held)
            if holder is not None and holder != owner and is_alive(holder) and not is_expired(held):
                return False
        columns = {**owner_columns(owner), "lease_until": boottime() + lease_seconds}
        statement = sqlite.insert(schema.ProcessLease).values(role=_ROLE, **columns)
        connection.execute(statement.on_conflict_do_update(index_elements=["role"], set_=columns))
    return True


def release_lease(database: Database, owner: Owner) -> None:
    """See Store.release_mirror_lease."""
    with database.write() as connection:
        connection.execute(
            delete(schema.ProcessLease).where(
                schema.ProcessLease.role == _ROLE, schema.ProcessLease.owner_nonce == owner.nonce
            )
        )
