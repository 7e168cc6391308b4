"""Whether every commit is still there: SQLite notices neither a `-wal` nor a hot `-journal` that somebody removed, nor
an older copy that was put into the file.

Each write transaction raises the database's `user_version`. The gate's file remembers, behind its holder's pid, the
last number that was committed and whether its writer is still inside; only who stands in the gate writes there.
"""

import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from kdharness.core.errors import EnvironmentRefused

_OFFSET, _SIZE = 21, 48  # behind "PID                 \n"
_MOMENT = 0.05


def gate_of(path: Path) -> Path:
    """The file whose lock is the gate of the database at `path`."""
    return path.with_name(path.name + ".gate")


def journal_of(path: Path) -> Path:
    """SQLite's rollback journal; once there it stays, empty between transactions (`journal_mode=TRUNCATE`)."""
    return path.with_name(path.name + "-journal")


@dataclass(frozen=True)
class Mark:
    """What the gate's file remembers of a database."""

    inode: int
    """Another file has another past."""
    number: int
    """Of the last commit."""
    hot: bool
    """A writer is inside, and there was a journal when it came."""


def remembered(path: Path) -> Mark | None:
    """What is known of this database; None where nothing is. Raises EnvironmentRefused for half a commit.

    Ask before SQLite opens the database: without its journal it would take half of a transaction for a whole.
    """
    mark = _read(path)
    if mark is not None and mark.hot and not journal_of(path).exists():
        time.sleep(_MOMENT)  # who has just undone the half puts the file back
        mark = _read(path)
    if mark is not None and mark.hot and not journal_of(path).exists():
        raise EnvironmentRefused(
            f"a process died while it wrote to the results database, and {journal_of(path).name} was removed since",
            where=str(path),
            remedy="put that file back, or restore a backup (results.db.*.backup); where you know that another program "
            f"has only opened the database, delete {gate_of(path).name}",
        )
    return mark


def _read(path: Path) -> Mark | None:
    try:
        with gate_of(path).open("rb") as file:
            inode, number, hot = map(int, os.pread(file.fileno(), _SIZE, _OFFSET).split())
        return Mark(inode, number, bool(hot)) if inode == path.stat().st_ino else None
    except (OSError, ValueError):
        return None


def keep_journal(mark: Mark | None, path: Path) -> None:
    """Put the journal back, empty, that a new connection removes when it undoes half a commit."""
    if mark is not None and mark.hot:
        journal_of(path).touch(mode=0o600)


def refuse_loss(mark: Mark | None, number: int, path: Path) -> None:
    """Raise EnvironmentRefused where the database's `number` is below that of its last commit."""
    if mark is not None and number < mark.number:
        raise EnvironmentRefused(
            f"the last {mark.number - number} commits to the results database are gone: {path.name}-wal was removed, "
            "or an older copy was put into the file",
            where=str(path),
            remedy=f"put back what is missing; if you put a backup there yourself, delete {gate_of(path).name}",
        )


class Count:
    """Numbers one write transaction; the with-block is left after its commit."""

    def __init__(self, path: Path, inode: int, gate: int) -> None:
        """`gate`: its open file, held by the caller."""
        self._path = path
        self._inode = inode
        self._gate = gate
        self._mark = remembered(path)
        self._number: int | None = None
        self._changed = False
        self._changes = 0

    def __enter__(self) -> "Count":
        return self

    def begin(self, connection: Connection) -> None:
        """Within the transaction, first. Raises EnvironmentRefused where earlier commits are gone."""
        raw = _raw(connection)
        number = int(raw.execute("PRAGMA user_version").fetchone()[0])
        refuse_loss(self._mark, number, self._path)
        self._number, self._changes = number, raw.total_changes
        self._remember(number, hot=journal_of(self._path).exists())

    def end(self, connection: Connection) -> None:
        """Within the transaction, last: one that has changed nothing is not counted, and costs no write."""
        raw = _raw(connection)
        self._changed = raw.total_changes != self._changes
        if self._changed and self._number is not None:
            raw.execute(f"PRAGMA user_version={self._number + 1}")

    def __exit__(self, kind: object, *_: object) -> None:
        if self._number is not None:
            self._remember(self._number + (kind is None and self._changed), hot=False)

    def _remember(self, number: int, *, hot: bool) -> None:
        text = f"{self._inode} {number} {int(hot)}".ljust(_SIZE - 1)
        os.pwrite(self._gate, f"{text}\n".encode(), _OFFSET)


def _raw(connection: Connection) -> sqlite3.Connection:
    """SQLite's own: these two statements stand in every transaction."""
    raw: Any = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw
