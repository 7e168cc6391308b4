"""The connection to `results.db`: who may write when, how durable, and of which version.

The rules are measured (SQLAlchemy's defaults gave one job to two workers in 24 % of the claims): the driver never
begins a transaction itself, every write transaction is BEGIN IMMEDIATE behind a gate, and the journal is WAL only
where the linked SQLite is free of the WAL-reset corruption bug (fixed in 3.51.3, 3.50.7 and 3.44.6).
"""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError

from kdharness.core.errors import BadInput, EnvironmentRefused, Unavailable
from kdharness.results.commits import Count, gate_of, keep_journal, refuse_loss, remembered
from kdharness.results.encoding import row_crc
from kdharness.results.gate import gate, lock_holders, parts_of, tell_waiting
from kdharness.results.mounts import mounted_on

WAIT_SECONDS = 60.0
_LOOK = "SELECT 1 FROM sqlite_master"


def journal_mode(version: tuple[int, int, int]) -> str:
    """`WAL` where this SQLite can be trusted with it, else `TRUNCATE`."""
    fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    return "WAL" if fixed else "TRUNCATE"


class Database:
    """One SQLite file. Connections are pooled and may be used by several threads, never across a fork."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        refuse_unsafe(path)
        # one file, one path: a symbolic link would have a gate of its own
        self.path = path.resolve()
        self._inode: int | None = None
        self._engine = _engine(self.path, foreign_keys=True, read_only=read_only)
        self._writer = self._engine.execution_options(kdharness_write=True)

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection in a read transaction: one state of the database. Keep it short, writers wait for it.

        Raises EnvironmentRefused for what `write` does, and where a row cannot be one that was written.
        """
        try:
            with refusals(self.path), self._engine.begin() as connection:
                yield connection
        except ValueError as error:  # no JSON, no UTF-8, no such state: we wrote these rows ourselves
            raise damaged(f"a row holds something else than it should ({error})") from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection in the only write transaction; committed at the end, rolled back by an exception.

        Raises Unavailable when the disk is full, the file gone or the lock held for a minute; EnvironmentRefused
        when it is damaged, or earlier commits are gone.
        """
        with refusals(self.path), gate(gate_of(self.path), WAIT_SECONDS) as held:
            inode = self._is_still_there()
            with Count(self.path, inode, held) as count, self._writer.begin() as connection:
                count.begin(connection)
                yield connection
                count.end(connection)

    def _is_still_there(self) -> int:
        """The file's inode: an open connection to one that was removed would take every commit, and nobody would ever
        read it."""
        try:
            inode = self.path.stat().st_ino
        except OSError as error:
            raise Unavailable(
                f"the results database is gone: {error.strerror}", where=str(self.path), remedy="put it back"
            ) from error
        if self._inode is None:
            self._inode = inode
        elif inode != self._inode:
            raise EnvironmentRefused(
                "the results database was replaced by another file while it was in use",
                where=str(self.path),
                remedy="run again: the same command goes on with what is there now",
            )
        return inode


def _engine(path: Path, *, foreign_keys: bool, read_only: bool = False) -> Engine:
    pragmas = {
        "busy_timeout": str(int(WAIT_SECONDS * 1000)),
        "foreign_keys": "ON" if foreign_keys else "OFF",
        "synchronous": "FULL",
        "trusted_schema": "OFF",
        "mmap_size": "0",
        "journal_mode": journal_mode(sqlite3.sqlite_version_info),
    }
    place = str(path)
    if read_only:
        del pragmas["journal_mode"]
        pragmas["query_only"] = "ON"
        place = f"{path.as_uri()}?mode=ro&uri=true"
    engine = create_engine(f"sqlite:///{place}", connect_args={"timeout": WAIT_SECONDS})

    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must never begin a transaction itself
        mark = remembered(path)
        _take(connection, path, _LOOK)
        for name, value in pragmas.items():
            connection.execute(f"PRAGMA {name}={value}")
        keep_journal(mark, path)
        connection.create_function("row_crc", -1, row_crc, deterministic=True)

    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("kdharness_write", False)
        raw: Any = connection.connection.driver_connection
        _take(raw, path, "BEGIN IMMEDIATE" if write else "BEGIN", _LOOK)  # BEGIN alone takes no lock

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


def _take(raw: sqlite3.Connection, path: Path, *statements: str) -> None:
    """Execute what takes a lock; while a foreign program has it, that is told."""
    parts = list(parts_of(WAIT_SECONDS))
    for number, seconds in enumerate(parts, 1):
        raw.execute(f"PRAGMA busy_timeout={int(seconds * 1000)}")
        try:
            for statement in statements:
                raw.execute(statement)
            break
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or number == len(parts):
                raise
            tell_waiting(f"it is locked by process {', '.join(lock_holders(path)) or 'unknown'}")
            if raw.in_transaction:
                raw.execute("ROLLBACK")
    raw.execute(f"PRAGMA busy_timeout={int(WAIT_SECONDS * 1000)}")


@contextmanager
def opened(path: Path, *, read_only: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection beside the engine, for what comes before the schema is known to be ours; what a killed writer left
    half done is undone, unless it is to be read only.

    Raises sqlite3.Error; EnvironmentRefused where commits are missing.
    """
    mark = remembered(path)
    place = f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rw'}"
    connection = sqlite3.connect(place, uri=True, timeout=WAIT_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA trusted_schema=OFF")
        _take(connection, path, _LOOK)
        if not read_only:
            keep_journal(mark, path)
        refuse_loss(mark, connection.execute("PRAGMA user_version").fetchone()[0], path)
        yield connection
    finally:
        connection.close()


@contextmanager
def migration_connection(path: Path) -> Iterator[Connection]:
    """A connection in one write transaction with foreign keys off, as batch migrations need; held behind the gate.

    They are checked before the commit. Raises EnvironmentRefused where the migration would break one.
    """
    engine = _engine(path, foreign_keys=False)
    try:
        with engine.execution_options(kdharness_write=True).begin() as connection:
            yield connection
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise EnvironmentRefused(f"the upgrade would break {len(broken)} references", where=str(path))
    finally:
        engine.dispose()


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Turn what SQLite and the disk may refuse into EnvironmentRefused; everything else passes."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise damaged(f"its schema is no text ({error})") from error
    except (DatabaseError, sqlite3.DatabaseError) as error:
        cause = error.orig if isinstance(error, DatabaseError) else error
        name = getattr(cause, "sqlite_errorname", None) or ""
        remedy = next((text for prefix, text in _REMEDIES.items() if name.startswith(prefix)), None)
        if remedy is None and any(sign in str(cause) for sign in _DAMAGE):
            remedy = _REMEDIES["SQLITE_NOTADB"]
        if remedy is None:
            raise
        kind = Unavailable if name.startswith(_PASSING) else EnvironmentRefused
        what = f"the results database says: {cause}"
        if name.startswith("SQLITE_FULL"):
            what += f" ({shutil.disk_usage(path.parent).free / 2**20:.1f} MiB free)"
        if name.startswith("SQLITE_BUSY") and (holders := lock_holders(path)):
            what += f" (locked by process {', '.join(holders)})"
        raise kind(what, where=str(path), remedy=remedy) from error


def damaged(what: str) -> EnvironmentRefused:
    """The error of a database that SQLite reads, but whose rows are not what was written."""
    return EnvironmentRefused(f"the results database is damaged: {what}", remedy=_REMEDIES["SQLITE_CORRUPT"])


_PASSING = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_BUSY")
_DAMAGE = ("file is not a database", "decode to UTF-8", "no such column", "no such table", "malformed")
"""What SQLite says of damage without an error code of its own."""

_REMEDIES = {
    "SQLITE_FULL": "free some disk space and run again: everything committed is kept",
    "SQLITE_IOERR": "the disk failed or is full; everything committed is kept",
    "SQLITE_READONLY": "make the file and its directory writable, or name another --home",
    "SQLITE_CANTOPEN": "make the file and its directory readable and writable, or name another --home",
    "SQLITE_PERM": "make the file and its directory readable and writable, or name another --home",
    "SQLITE_BUSY": "another program holds the file (a database browser?); close it and run again",
    "SQLITE_CORRUPT": "the file is damaged: restore a backup (results.db.*.backup), or name another --home",
    "SQLITE_NOTADB": "the file is damaged: restore a backup (results.db.*.backup), or name another --home",
}


def refuse_unsafe(path: Path) -> None:
    """Raise EnvironmentRefused if `path` lies where locks cannot be trusted, or has a second name (a hard link)."""
    mount = mounted_on(path)
    if mount is not None and not mount.keeps_locks:
        raise EnvironmentRefused(
            f"the results database would lie on {mount.kind} ({mount.point}), where SQLite's locks cannot be trusted",
            where=str(path),
            remedy="name a --home on a local disk",
        )
    if path.exists() and (links := path.stat().st_nlink) > 1:
        raise EnvironmentRefused(
            f"the results database has {links} names (hard links): under another name it would have another lock and "
            "another journal",
            where=str(path),
            remedy="remove the other names, or make a copy with `kdharness db backup FILE`",
        )


def open_database(path: Path, *, create: bool, read_only: bool = False) -> Database:
    """The database at `path`, of this program's version; `create` makes or upgrades it first.

    Raises BadInput where there is none; EnvironmentRefused for a newer one, an older one (without `create`), a
    damaged one, or something that is not a database.
    """
    from kdharness.migrations import HEAD, VERSIONS

    if create:
        refuse_unsafe(path)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentRefused(
                f"{path.parent} cannot be made: {error.strerror}", remedy="name another --home"
            ) from error
    elif not path.exists():
        raise _nothing_here(path)
    database = Database(path, read_only=read_only)
    version = version_of(path, read_only=read_only)
    if version != HEAD and create and (version is None or version in VERSIONS):
        from kdharness.results.upgrade import upgrade

        upgrade(path)
        remember_place(database)
        return database
    if version is None:
        raise _nothing_here(path)
    if version not in VERSIONS:
        raise EnvironmentRefused(
            f"the results database has version {version}, this kdharness knows up to {HEAD}",
            where=str(path),
            remedy="it was made by a newer kdharness: upgrade kdharness, or name another --home",
        )
    if version != HEAD:
        raise EnvironmentRefused(
            f"the results database has version {version}, this kdharness needs {HEAD}",
            where=str(path),
            remedy="run `kdharness db upgrade` (a backup is made)",
        )
    if create and copied_from(path) is not None:
        remember_place(database)
    return database


_LAST_PLACE = "SELECT inode, path FROM places ORDER BY place_id DESC LIMIT 1"


def copied_from(path: Path) -> str | None:
    """Where the database lived when it was last opened for a study, if the file is another one now; "" if unknown."""
    with refusals(path), opened(path) as connection:
        row = connection.execute(_LAST_PLACE).fetchone()
    if row is None:
        return ""
    return None if row[0] == path.stat().st_ino else str(row[1])


def remember_place(database: Database) -> None:
    """Enter the file as the one that the database lives in now."""
    with database.write() as connection:
        row = (database.path.stat().st_ino, str(database.path), time.time_ns() // 1_000_000)
        connection.exec_driver_sql("INSERT INTO places (inode, path, since_ms) VALUES (?, ?, ?)", row)


def _nothing_here(path: Path) -> BadInput:
    return BadInput(f"no results here: {path}", remedy="run `kdharness run STUDY.yaml` first, or name another --home")


_KINDS = "SELECT name, CASE WHEN sql LIKE 'create virtual%' THEN 'virtual table' ELSE type END FROM sqlite_master"


def version_of(path: Path, *, read_only: bool = False) -> str | None:
    """The schema version that stands in the database; None for an empty or missing one.

    Raises EnvironmentRefused if it is not a database of ours, or damaged, or commits are missing.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    with refusals(path), opened(path, read_only=read_only) as connection:
        kinds = dict(connection.execute(_KINDS))
        tables = {name for name, kind in kinds.items() if kind == "table"}
        strange = sorted(name for name, kind in kinds.items() if kind in ("trigger", "view", "virtual table"))
        if not kinds:
            return None
        if strange:
            raise EnvironmentRefused(
                f"somebody added {kinds[strange[0]]} {strange[0]!r} to the results database: what it does is "
                "not ours to run",
                where=str(path),
                remedy="drop it, restore a backup (results.db.*.backup), or name another --home",
            )
        if "kdharness_version" not in tables:
            raise EnvironmentRefused(
                "this is a database, but not one of kdharness", where=str(path), remedy="name another --home"
            )
        row = connection.execute("SELECT version_num FROM kdharness_version").fetchone()
        return str(row[0]) if row else None
