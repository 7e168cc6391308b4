"""What an attempt commits: with what it computes, its epochs and checkpoints, and the end in one transaction."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, exists, func, insert, select, update
from sqlalchemy.dialects import sqlite

from kdharness.core.errors import SealedSplit
from kdharness.core.keys import canonical_json, key_of
from kdharness.core.records import Numerics
from kdharness.results import outbox, schema
from kdharness.results.database import Database
from kdharness.results.encoding import dumps, now_ms, split_value
from kdharness.results.leases import NOBODY, close_attempt, fenced
from kdharness.results.records import Checkpoint, Lease

KEPT_CHECKPOINTS = 2
"""The newest, and the one before it in case the newest file turns out damaged."""


def start(
    database: Database,
    lease: Lease,
    numerics: Numerics,
    device: str,
    commit: str | None,
    versions: Mapping[str, str],
) -> None:
    """See Store.start."""
    key, now = key_of(numerics), now_ms()
    with database.write() as connection:
        before = connection.execute(
            select(
                schema.Run.numerics_keys,
                schema.Run.started_ms,
                exists().where(schema.Checkpoint.run_id == lease.run_id),
            ).where(schema.Run.run_id == lease.run_id)
        ).one()
        # an attempt that begins anew makes the run alone, whatever came before it
        others = [one for one in json.loads(before[0]) if one != key] if before[2] else []
        fenced(
            connection,
            lease,
            numerics_keys=dumps([*others, key]),
            device=device,
            started_ms=before[1] or now,
        )
        this = (schema.Attempt.run_id == lease.run_id, schema.Attempt.number == lease.fence)
        connection.execute(
            update(schema.Attempt)
            .where(*this)
            .values(
                numerics_key=key,
                numerics=canonical_json(numerics),
                device=device,
                git_commit=commit,
                versions=dumps(dict(versions)),
                started_ms=now,
            )
        )
        outbox.mark_runs(connection, [lease.run_id], "state")


def commit_epoch(
    database: Database,
    lease: Lease,
    epoch: int,
    step: int,
    metrics: Mapping[str, float],
    checkpoint: Checkpoint | None,
) -> list[Checkpoint]:
    """See Store.commit_epoch."""
    _refuse_sealed(metrics, lease)
    now = now_ms()
    with database.write() as connection:
        fenced(connection, lease, epoch=epoch, step=step)
        _put_epochs(connection, lease.run_id, {name: [(epoch, value)] for name, value in metrics.items()}, {}, now)
        superseded = [] if checkpoint is None else _put_checkpoint(connection, lease, checkpoint, now)
        outbox.mark_runs(connection, [lease.run_id], "epoch")
    return superseded


def _refuse_sealed(metrics: Mapping[str, Any], lease: Lease) -> None:
    """Raise SealedSplit if a test metric is among them."""
    for name in metrics:
        if name.startswith("test_"):
            raise SealedSplit(f"{name} is sealed until the run is complete", where=lease.run_id)


def _put_epochs(
    connection: Connection,
    run_id: str,
    values: Mapping[str, Sequence[tuple[int, float]]],
    times: Mapping[int, int],
    now: int,
) -> None:
    """Insert epoch metrics; an epoch that is trained again (its newest checkpoint was damaged) replaces its values."""
    rows = [
        {"run_id": run_id, "name": name, "epoch": epoch, "at_ms": times.get(epoch, now), **split_value(value)}
        for name, series in values.items()
        for epoch, value in series
    ]
    if rows:
        statement = sqlite.insert(schema.EpochMetric)
        renewed = {name: statement.excluded[name] for name in ("value", "nonfinite", "at_ms")}
        connection.execute(
            statement.on_conflict_do_update(index_elements=["run_id", "epoch", "name"], set_=renewed), rows
        )


def _put_checkpoint(connection: Connection, lease: Lease, checkpoint: Checkpoint, now: int) -> list[Checkpoint]:
    """Make it the current one; those that are no longer kept."""
    connection.execute(delete(schema.Checkpoint).where(schema.Checkpoint.path == checkpoint.path))
    row = vars(checkpoint) | {"run_id": lease.run_id, "fence": lease.fence, "saved_ms": now}
    connection.execute(insert(schema.Checkpoint), row)
    this = (schema.Attempt.run_id == lease.run_id, schema.Attempt.number == lease.fence)
    connection.execute(update(schema.Attempt).where(*this).values(checkpoints=schema.Attempt.checkpoints + 1))
    connection.execute(update(schema.Run).where(schema.Run.run_id == lease.run_id).values(futile=0))
    old = _checkpoints(connection, lease.run_id)[KEPT_CHECKPOINTS:]
    for one in old:
        connection.execute(delete(schema.Checkpoint).where(schema.Checkpoint.path == one.path))
    return old


def checkpoints(database: Database, run_id: str) -> list[Checkpoint]:
    """See Store.checkpoints."""
    with database.read() as connection:
        return _checkpoints(connection, run_id)


def _checkpoints(connection: Connection, run_id: str) -> list[Checkpoint]:
    table = schema.Checkpoint
    rows = connection.execute(
        select(table.path, table.sha256, table.epoch, table.step, table.bytes)
        .where(table.run_id == run_id)
        .order_by(table.checkpoint_id.desc())
    )
    return [Checkpoint(path, sha256, epoch, step, size) for path, sha256, epoch, step, size in rows]


def complete(
    database: Database,
    lease: Lease,
    metrics: Mapping[str, float],
    sealed: Mapping[str, Sequence[tuple[int, float]]],
    weights_sha256: str,
    teacher_sha256: str | None,
    predictions: bytes | None,
) -> None:
    """See Store.complete."""
    run_id, now = lease.run_id, now_ms()
    with database.write() as connection:
        setting = (
            connection.execute(
                select(schema.Setting)
                .join(schema.Run, schema.Run.setting_key == schema.Setting.setting_key)
                .where(schema.Run.run_id == run_id)
            )
            .mappings()
            .one()
        )
        if setting["validation"] > 0:
            _refuse_sealed({**metrics, **sealed}, lease)
        fenced(
            connection,
            lease,
            state="complete",
            epoch=setting["epochs"],
            weights_sha256=weights_sha256,
            teacher_sha256=teacher_sha256,
            finished_ms=now,
            **NOBODY,
        )
        close_attempt(connection, run_id, lease.fence, outcome="complete", finished_ms=now)
        if metrics:
            rows = [{"run_id": run_id, "name": name, **split_value(value)} for name, value in metrics.items()]
            connection.execute(insert(schema.Metric), rows)
        if sealed:
            # a sealed value is as old as its epoch, not as its publication: charts show it where it belongs
            at = select(schema.EpochMetric.epoch, func.min(schema.EpochMetric.at_ms)).group_by(schema.EpochMetric.epoch)
            found = connection.execute(at.where(schema.EpochMetric.run_id == run_id)).all()
            times = {row[0]: row[1] for row in found}
            _put_epochs(connection, run_id, sealed, times, now)
        if predictions is not None:
            connection.execute(insert(schema.Prediction), {"run_id": run_id, "packed": predictions})
        connection.execute(delete(schema.Checkpoint).where(schema.Checkpoint.run_id == run_id))
        if any(name.startswith("test_") for name in (*metrics, *sealed)):
            _enter_ledger(connection, setting, run_id, now)
        _enter_teacher(connection, setting, run_id, weights_sha256, metrics, now)
        outbox.mark_runs(connection, [run_id], "state")


def _enter_ledger(connection: Connection, setting: RowMapping, run_id: str, now: int) -> None:
    """Count the setting as one whose test score was seen, once."""
    teacher, student = setting["teacher"], setting["student"]
    row = {
        "setting_key": setting["setting_key"],
        "dataset": setting["dataset"],
        "pair": f"{teacher} -> {student}" if teacher else student,
        "distiller": setting["distiller"],
        "run_id": run_id,
        "revealed_ms": now,
    }
    connection.execute(insert(schema.Revealed).prefix_with("OR IGNORE"), row)


def _enter_teacher(
    connection: Connection,
    setting: RowMapping,
    run_id: str,
    weights_sha256: str,
    metrics: Mapping[str, float],
    now: int,
) -> None:
    """List the weights as a teacher's if another run needs them."""
    if not connection.scalar(select(exists().where(schema.RunNeed.needs_run_id == run_id))):
        return
    measured = metrics.get("test_top1_last", metrics.get("val_top1_last"))
    row = {
        "weights_sha256": weights_sha256,
        "dataset": setting["dataset"],
        "model": setting["student"],
        "origin": "trained",
        "run_id": run_id,
        "measured_top1": measured,
        "added_ms": now,
    }
    connection.execute(insert(schema.Teacher).prefix_with("OR IGNORE"), row)
