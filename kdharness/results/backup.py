"""A whole copy of the database while it is in use, and a thorough look at one."""

import hashlib
import re
import sqlite3
from pathlib import Path

from sqlalchemy import create_engine

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.records import run_id_of
from kdharness.results import schema
from kdharness.results.checksums import COVERED, keys_of, metrics_in
from kdharness.results.database import opened, refusals
from kdharness.results.encoding import metric_crc, row_crc, setting_of
from kdharness.results.wanted import setting_row


def backup(database: Path, target: Path) -> int:
    """The bytes of the verified copy that is at `target` now; whole or not there at all.

    Made by SQLite, because a copied file of a database in use may lack committed rows. Raises BadInput where there is
    a file already, EnvironmentRefused where the disk or the database refuses.
    """
    if target.exists():
        raise BadInput(f"{target} exists already", remedy="name another file: a backup is never overwritten")
    if not target.parent.is_dir():
        raise BadInput(f"there is no directory {target.parent}", remedy="make it first, or name another file")
    beside = target.with_name(f".{target.name}.tmp")
    beside.unlink(missing_ok=True)
    try:
        with refusals(database):
            copy_into(database, beside)
        problems = look_into(beside)
        if problems:
            raise EnvironmentRefused(
                f"the copy is not whole: {problems[0]}",
                where=str(database),
                remedy="`kdharness db verify` says all that is wrong with the database",
            )
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    return target.stat().st_size


def copy_into(database: Path, target: Path) -> None:
    """Copy one committed state, for the user's eyes alone. Raises sqlite3.Error; EnvironmentRefused for half of one."""
    with opened(database) as connection:
        connection.execute("VACUUM INTO ?", (str(target),))
    target.chmod(0o600)


def look_into(database: Path) -> list[str]:
    """What is wrong with it: lost commits, pages, references, tables, settings that are not what their key says."""
    with refusals(database):
        try:
            with opened(database) as connection:
                connection.execute("PRAGMA query_only=ON")
                return _look(connection)
        except EnvironmentRefused as error:
            return [error.what]
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
                raise  # it may be whole
            return [f"it cannot be read to the end: {error}"]


def _look(connection: sqlite3.Connection) -> list[str]:
    problems = []
    found, expected = _schema(connection), _expected_schema()
    for name in sorted({*found, *expected}):
        if found.get(name) != expected.get(name):
            what = "is missing" if name not in found else "is not one of ours" if name not in expected else "differs"
            problems.append(f"the table or index {name} {what}")
    if problems:
        return problems  # what a foreign index computes is not ours to run
    problems += [f"integrity: {line}" for (line,) in connection.execute("PRAGMA integrity_check(20)") if line != "ok"]
    broken = connection.execute("PRAGMA foreign_key_check").fetchall()
    problems += [f"a row of {table} refers to a row of {other} that is not there" for table, _, other, _ in broken[:20]]
    if not problems:
        problems += _changed(connection)
        settings = connection.execute("SELECT * FROM settings")
        names = [column[0] for column in settings.description]
        for values in settings:
            row = dict(zip(names, values, strict=True))
            key, canonical = row["setting_key"], row["canonical"]
            kept = hashlib.sha256(canonical.encode()).hexdigest() == key
            # an older text of the same setting may stand there
            if not kept or setting_row(setting_of(canonical), key) | {"canonical": canonical} != row:
                problems.append(f"the setting {key[:12]} is not what its key says")
        for run_id, key, seed in connection.execute("SELECT run_id, setting_key, seed FROM runs"):
            if run_id != run_id_of(key, seed):
                problems.append(f"the run {run_id} has another setting or seed than it was made with")
        for run_id, name, value, nonfinite, crc in connection.execute(
            "SELECT run_id, name, value, nonfinite, crc FROM metrics WHERE crc IS NOT NULL"
        ):
            if metric_crc(run_id, name, value, nonfinite) != crc:
                problems.append(f"{name} of run {run_id} is not the number that was committed")
        kept = set(connection.execute("SELECT run_id, name FROM metrics"))
        for run_id, names in connection.execute("SELECT run_id, metric_names FROM runs"):
            lost = [name for name in sorted(metrics_in(names)) if (run_id, name) not in kept]
            problems += [f"{name} of run {run_id} is lost" for name in lost]
    return problems


def _changed(connection: sqlite3.Connection) -> list[str]:
    """Rows that are not what their checksum says."""
    problems = []
    for table, covered in COVERED.items():
        name, keys = table.__tablename__, [column.name for column in keys_of(table)]
        chosen = ", ".join(f'"{column}"' for column in ("crc", *keys, *covered))
        for crc, *values in connection.execute(f"SELECT {chosen} FROM {name} WHERE crc IS NOT NULL"):  # noqa: S608  our own
            if row_crc(*values[len(keys) :]) != crc:
                problems.append(
                    f"the row {', '.join(map(str, values[: len(keys)]))} of {name} is not what was committed"
                )
    return problems


def _schema(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Everything in `sqlite_master` by name: its columns and constraints in any order."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: parts_of(sql) for name, sql in rows if name not in ("sqlite_sequence", "kdharness_version")}


def parts_of(sql: str) -> list[str]:
    """What a CREATE statement lists, sorted, without white space and quotes: a migration adds a column at the end."""
    text = re.sub(r"[\s\"]", "", sql)
    inside = re.split(r",(?![^()]*\))", text[text.index("(") + 1 : text.rindex(")")])
    return [text.partition("(")[0], *sorted(inside), text.rpartition(")")[2]]


def _expected_schema() -> dict[str, list[str]]:
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            schema.Table.metadata.create_all(connection)
            raw = connection.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            return _schema(raw)
    finally:
        engine.dispose()
