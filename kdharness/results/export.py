"""Results for other programs: JSON objects, the ledger, and SQL on a connection that can only read."""

import math
import sqlite3
import time
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import func, select, text

from kdharness.core.errors import BadInput
from kdharness.results import schema
from kdharness.results.database import WAIT_SECONDS, Database, refusals
from kdharness.results.reading import rows
from kdharness.results.records import Revealed

_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})

_MISTAKES = ("SQLITE_ERROR", "SQLITE_AUTH", "SQLITE_SCHEMA", "SQLITE_READONLY", "SQLITE_INTERRUPT")
"""What is wrong with the SQL, not with the database (a refused CREATE says SCHEMA, a second statement nothing)."""

QUERY_SECONDS = 20.0
"""Writers wait for a reader, and give up after a minute."""


def export(database: Database, study: str) -> Iterator[dict[str, Any]]:
    """See Store.export."""
    for row in rows(database, study):
        yield {
            "study": row.study,
            "run_id": row.run_id,
            "setting_key": row.setting_key,
            "numerics_key": row.numerics_key,
            "seed": row.seed,
            "purpose": row.purpose,
            "dataset": row.dataset,
            "teacher": row.teacher,
            "student": row.student,
            "distiller": row.distiller,
            "label": row.label,
            "settings": row.settings,
            "state": row.state,
            "attempts": row.attempts,
            "weights_sha256": row.weights_sha256,
            "teacher_sha256": row.teacher_sha256,
            "metrics": {name: _plain(value) for name, value in row.metrics.items()},
            "device": row.device,
            "started": row.started.isoformat() if row.started else None,
            "finished": row.finished.isoformat() if row.finished else None,
            "excluded": row.marks.excluded,
            "tags": list(row.marks.tags),
            "notes": [{"text": note.text, "at": note.at.isoformat()} for note in row.marks.notes],
        }


def _plain(value: float) -> float | str:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else str(value)


def ledger(database: Database) -> list[Revealed]:
    """See Store.ledger."""
    cell = (schema.Revealed.dataset, schema.Revealed.pair, schema.Revealed.distiller)
    with database.read() as connection:
        found = connection.execute(select(*cell, func.count()).group_by(*cell).order_by(*cell))
        return [Revealed(dataset, pair, distiller, settings) for dataset, pair, distiller, settings in found]


def query(
    database: Database, sql: str, limit: int | None, values: Mapping[str, str]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """See Store.query."""
    with database.read() as writable:
        writable.execute(text("SELECT 1 FROM sqlite_master"))  # rolls back what a killed writer left half done
    uri = f"{database.path.as_uri()}?mode=ro"
    with refusals(database.path):
        connection = sqlite3.connect(uri, uri=True, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA query_only=ON")
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.set_authorizer(_authorize)
            deadline = time.monotonic() + QUERY_SECONDS
            connection.set_progress_handler(lambda: time.monotonic() > deadline, 100_000)
            cursor = connection.execute(sql, values)
            if cursor.description is None:
                raise BadInput("SQL: this returns no rows", remedy="`query` takes one SELECT and only reads")
            columns = [column[0] for column in cursor.description]
            return columns, cursor.fetchall() if limit is None else cursor.fetchmany(limit)
        except (sqlite3.DatabaseError, sqlite3.Warning) as error:
            if getattr(error, "sqlite_errorname", "SQLITE_ERROR") not in _MISTAKES:
                raise
            raise BadInput(f"SQL: {error}", remedy=_remedy(connection, error)) from error
        finally:
            connection.close()


def _remedy(connection: sqlite3.Connection, error: Exception) -> str:
    if not str(error).startswith("no such table"):
        return "`query` takes one SELECT and only reads"
    named = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
    return f"tables: {', '.join(name for (name,) in connection.execute(named))}"


def _authorize(action: int, first: str | None, second: str | None, _database: str | None, _source: str | None) -> int:
    """SELECT and harmless functions only: no writing, no PRAGMA, no ATTACH, no loading of code."""
    if action == sqlite3.SQLITE_FUNCTION and second == "load_extension":
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY
