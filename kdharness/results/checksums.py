"""Whether rows are still what was committed: SQLite does not notice a flipped bit.

Whatever a table or figure prints, and no key vouches for, has a CRC-32 beside it. It is written in the transaction that
writes the row. Final metrics have their own, of `encoding`.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, func, select, update

from kdharness.results import schema
from kdharness.results.database import damaged
from kdharness.results.encoding import row_crc

COVERED: dict[type[schema.Table], tuple[str, ...]] = {
    schema.StudyText: ("study_id", "number", "text", "path", "spec"),
    schema.StudyRun: ("study_run_id", "study_id", "run_id"),
    schema.StudyLabel: (
        "study_run_id", "label", "pair", "purpose", "student", "teacher", "teacher_run_id", "row", "group_name", "axes",
        "against", "ours", "provenance", "extended",
    ),
    schema.Run: (
        "run_id", "state", "attempts", "epoch", "numerics_keys", "device", "weights_sha256", "teacher_sha256",
        "started_ms", "finished_ms",
    ),
    schema.EpochMetric: ("run_id", "epoch", "name", "value", "nonfinite"),
    schema.Teacher: (
        "weights_sha256", "dataset", "model", "origin", "run_id", "name", "declared_top1", "measured_top1", "accepted",
        "fingerprint", "provenance",
    ),
    schema.Exclusion: ("run_id", "reason"),
    schema.Search: ("study_id", "name", "number", "asked", "spec", "outcome"),
    schema.Draw: ("study_id", "label", "number", "generation", "params", "run_id", "cost", "pruned_epoch"),
    schema.DrawRun: ("study_id", "label", "number", "rung", "seed", "run_id"),
}  # fmt: skip
"""What the column `crc` of these tables is of; a run gets its one when it is complete."""


def seal(connection: Connection, table: type[schema.Table], *where: ColumnElement[bool]) -> None:
    """Write the checksums of these rows as they are now.

    Before an update of rows that stand there: `refuse_changed`, or what had changed is vouched for.
    """
    connection.execute(sealing(table, *where))


def sealing(table: type[schema.Table], *where: ColumnElement[bool]) -> Update:
    """The statement that does so: who needs it often keeps it, building takes longer than executing."""
    return update(table).where(*where).values(crc=_crc(table))


def refuse_changed(connection: Connection, table: type[schema.Table], rows: ColumnElement[bool]) -> None:
    """Raise EnvironmentRefused if one of the rows is not what was committed."""
    changed = select(*keys_of(table)).where(table.__table__.c.crc != _crc(table))
    found = connection.execute(changed.where(rows).limit(1)).first()
    if found is not None:
        raise damaged(f"a row of {table.__tablename__} ({', '.join(map(str, found))}) is not what was committed")


def refuse_changed_columns(table: type[schema.Table], read: Mapping[str, Sequence[Any]]) -> None:
    """The same of rows that were read, column by column: every covered one and `crc`, as they are stored."""
    rows = zip(*(read[name] for name in COVERED[table]), strict=True)
    for row, crc in zip(rows, read["crc"], strict=True):
        if crc is not None and crc != row_crc(*row):
            raise damaged(f"a row of {table.__tablename__} is not what was committed ({row[0]})")


def refuse_holes(connection: Connection) -> None:
    """Raise EnvironmentRefused where a page or an index has lost rows of the tables that reports read.

    A row that is not found has no checksum that could be wrong. Runs and settings are asked for by their keys, and who
    reads them misses one that is lost: their other indexes are not looked at. A run names its metrics.
    """
    looks = dict.fromkeys((schema.Study, schema.StudyRun, schema.StudyLabel, schema.Exclusion), "integrity_check")
    looks |= dict.fromkeys((schema.Run, schema.Setting), "quick_check")
    for table, look in looks.items():
        name = table.__tablename__
        said = connection.exec_driver_sql(f"PRAGMA {look}('{name}')").scalar()
        if said != "ok":
            raise damaged(f"{name}: {said}")


def refuse_lost_metrics(run_id: str, names: str | None, found: Collection[str]) -> None:
    """Raise EnvironmentRefused where a run lacks one of the final metrics that it is said to have."""
    lost = sorted(metrics_in(names) - set(found))
    if lost:
        raise damaged(f"{', '.join(lost)} of run {run_id} is lost")


@lru_cache(maxsize=1024)
def metrics_in(names: str | None) -> frozenset[str]:
    """The names that a run's row lists; none where it does not."""
    try:
        return frozenset(json.loads(names or "[]"))
    except (ValueError, TypeError):
        raise damaged("what metrics a run has cannot be read") from None


def keys_of(table: type[schema.Table]) -> list[Any]:
    """The columns of its primary key."""
    return [column for column in table.__table__.columns if column.primary_key]


def _crc(table: type[schema.Table]) -> ColumnElement[int]:
    return func.row_crc(*(getattr(table, name) for name in COVERED[table]))
