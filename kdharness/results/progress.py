"""What an attempt commits: with what it computes, its epochs and checkpoints, and the end in one transaction."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Text, bindparam, delete, exists, func, insert, select, update
from sqlalchemy.dialects import sqlite

from kdharness.core.errors import SealedSplit
from kdharness.core.keys import canonical_json, key_of
from kdharness.core.records import Numerics
from kdharness.results import outbox, schema
from kdharness.results.checksums import seal, sealing
from kdharness.results.database import Database
from kdharness.results.encoding import among, dumps, epoch_row, listing, metric_row, now_ms
from kdharness.results.leases import NOBODY, fenced, write_attempt
from kdharness.results.records import Checkpoint, Lease

KEPT_CHECKPOINTS = 2
"""The newest, and the one before it in case the newest file turns out damaged."""

_RUN = bindparam("its_run", type_=Text)
_BEFORE = select(
    schema.Run.numerics_keys, schema.Run.started_ms, exists().where(schema.Checkpoint.run_id == _RUN)
).where(schema.Run.run_id == _RUN)
_SETTING = (
    select(schema.Setting)
    .join(schema.Run, schema.Run.setting_key == schema.Setting.setting_key)
    .where(schema.Run.run_id == _RUN)
)
_METRIC = insert(schema.Metric)
_PLAIN = sqlite.insert(schema.EpochMetric)
_EPOCH_METRIC = _PLAIN.on_conflict_do_update(
    index_elements=["run_id", "epoch", "name"],
    set_={name: _PLAIN.excluded[name] for name in ("value", "nonfinite", "at_ms", "crc")},
)
_EPOCH_TIMES = (
    select(schema.EpochMetric.epoch, func.min(schema.EpochMetric.at_ms))
    .where(schema.EpochMetric.run_id == _RUN)
    .group_by(schema.EpochMetric.epoch)
)
_CHECKPOINT = insert(schema.Checkpoint)
_CHECKPOINTS = (
    select(
        schema.Checkpoint.path,
        schema.Checkpoint.sha256,
        schema.Checkpoint.epoch,
        schema.Checkpoint.step,
        schema.Checkpoint.bytes,
    )
    .where(schema.Checkpoint.run_id == _RUN)
    .order_by(schema.Checkpoint.checkpoint_id.desc())
)
_DROP_CHECKPOINT = delete(schema.Checkpoint).where(schema.Checkpoint.path == bindparam("its_path"))
_DROP_CHECKPOINTS = delete(schema.Checkpoint).where(schema.Checkpoint.run_id == _RUN)
_COUNT_CHECKPOINT = (
    update(schema.Attempt)
    .where(schema.Attempt.run_id == _RUN, schema.Attempt.number == bindparam("its_fence"))
    .values(checkpoints=schema.Attempt.checkpoints + 1)
)
_PREDICTION = insert(schema.Prediction)
_SEALED = sealing(schema.Run, schema.Run.run_id == _RUN)
_REVEALED = insert(schema.Revealed).prefix_with("OR IGNORE")
_IS_NEEDED = select(exists().where(schema.RunNeed.needs_run_id == _RUN))
_TEACHER = insert(schema.Teacher).prefix_with("OR IGNORE")


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
        before = connection.execute(_BEFORE, {"its_run": lease.run_id}).one()
        # an attempt that begins anew makes the run alone, whatever came before it
        others = [one for one in json.loads(before[0]) if one != key] if before[2] else []
        fenced(
            connection,
            lease,
            numerics_keys=dumps([*others, key]),
            device=device,
            started_ms=before[1] or now,
        )
        write_attempt(
            connection,
            lease.run_id,
            lease.fence,
            numerics_key=key,
            numerics=canonical_json(numerics),
            device=device,
            git_commit=commit,
            versions=dumps(dict(versions)),
            started_ms=now,
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
        # a new checkpoint is progress: the attempts before it no longer count against the run
        fenced(connection, lease, epoch=epoch, step=step, **({} if checkpoint is None else {"futile": 0}))
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
        epoch_row(run_id, epoch, name, value) | {"at_ms": times.get(epoch, now)}
        for name, series in values.items()
        for epoch, value in series
    ]
    if rows:
        connection.execute(_EPOCH_METRIC, rows)


def _put_checkpoint(connection: Connection, lease: Lease, checkpoint: Checkpoint, now: int) -> list[Checkpoint]:
    """Make it the current one; those that are no longer kept."""
    connection.execute(_DROP_CHECKPOINT, {"its_path": checkpoint.path})
    row = vars(checkpoint) | {"run_id": lease.run_id, "fence": lease.fence, "saved_ms": now}
    connection.execute(_CHECKPOINT, row)
    connection.execute(_COUNT_CHECKPOINT, {"its_run": lease.run_id, "its_fence": lease.fence})
    old = _checkpoints(connection, lease.run_id)[KEPT_CHECKPOINTS:]
    for one in old:
        connection.execute(_DROP_CHECKPOINT, {"its_path": one.path})
    return old


def checkpoints(database: Database, run_id: str) -> list[Checkpoint]:
    """See Store.checkpoints."""
    with database.read() as connection:
        return _checkpoints(connection, run_id)


def _checkpoints(connection: Connection, run_id: str) -> list[Checkpoint]:
    rows = connection.execute(_CHECKPOINTS, {"its_run": run_id})
    return [Checkpoint(path, sha256, epoch, step, size) for path, sha256, epoch, step, size in rows]


def forget_checkpoints(database: Database, run_ids: Sequence[str]) -> None:
    """See Store.forget_checkpoints."""
    idle = select(schema.Run.run_id).where(schema.Run.run_id.in_(among("idle")), schema.Run.state != "running")
    with database.write() as connection:
        connection.execute(
            delete(schema.Checkpoint).where(schema.Checkpoint.run_id.in_(idle)), {"idle": listing(run_ids)}
        )


def complete(
    database: Database,
    lease: Lease,
    metrics: Mapping[str, float],
    sealed: Mapping[str, Sequence[tuple[int, float]]],
    weights_sha256: str,
    teacher_sha256: str | None,
    predictions: bytes | None,
    publish: Callable[[], None],
) -> None:
    """See Store.complete."""
    run_id, now = lease.run_id, now_ms()
    with database.write() as connection:
        setting = connection.execute(_SETTING, {"its_run": run_id}).mappings().one()
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
            metric_names=dumps(sorted(metrics)),
            **NOBODY,
        )
        write_attempt(connection, run_id, lease.fence, outcome="complete", finished_ms=now)
        if metrics:
            connection.execute(_METRIC, [metric_row(run_id, name, value) for name, value in metrics.items()])
        if sealed:
            # a sealed value is as old as its epoch, not as its publication: charts show it where it belongs
            found = connection.execute(_EPOCH_TIMES, {"its_run": run_id}).all()
            times = {row[0]: row[1] for row in found}
            _put_epochs(connection, run_id, sealed, times, now)
        if predictions is not None:
            connection.execute(_PREDICTION, {"run_id": run_id, "packed": predictions})
        connection.execute(_DROP_CHECKPOINTS, {"its_run": run_id})
        if any(name.startswith("test_") for name in (*metrics, *sealed)):
            _enter_ledger(connection, setting, run_id, now)
        _enter_teacher(connection, setting, run_id, weights_sha256, metrics, now)
        connection.execute(_SEALED, {"its_run": run_id})
        outbox.mark_runs(connection, [run_id], "state")
        publish()


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
    connection.execute(_REVEALED, row)


def _enter_teacher(
    connection: Connection,
    setting: RowMapping,
    run_id: str,
    weights_sha256: str,
    metrics: Mapping[str, float],
    now: int,
) -> None:
    """List the weights as a teacher's if another run needs them."""
    if not connection.scalar(_IS_NEEDED, {"its_run": run_id}):
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
    connection.execute(_TEACHER, row)
    seal(connection, schema.Teacher, schema.Teacher.run_id == run_id)
