"""All logit tables of a home: opened by key, and kept under a size by evicting those least recently used."""

import errno
import fcntl
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.training.logit_table import LogitTable, TableKey

LIMIT_BYTES = 20 * 10**9
FREE_BYTES = 2 << 30
"""Tables leave so much of the disk free: checkpoints and results need it more."""
ENVIRONMENT = "KDHARNESS_TABLES_GB"
"""Gigabytes (10**9 bytes) that all tables may take; 0: teachers compute every time, and what is there stays."""
EVICTED = "evicted-"
"""Before the name of a table that is being removed, or was when its remover was killed."""

log = logging.getLogger(__name__)


def limit_bytes() -> int:
    """What the environment says, or the default. Raises BadInput for what is no size."""
    given = os.environ.get(ENVIRONMENT)
    if given is None:
        return LIMIT_BYTES
    try:
        limit = float(given)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < math.inf:
        raise BadInput(f"{ENVIRONMENT} is {given!r}", remedy="give gigabytes, as 20, or 0 for no tables")
    return int(limit * 10**9)


@dataclass(frozen=True)
class Shelved:
    """A table as it lies on the disk."""

    folder: Path
    card: dict[str, Any]
    """Its key's fields."""
    bytes: int
    used: float
    """When it was last opened: seconds since 1970."""

    @property
    def written(self) -> int:
        """When a row was last added: nanoseconds since 1970, 0 before the first or once it is gone."""
        with suppress(OSError):
            return (self.folder / "blocks").stat().st_mtime_ns
        return 0

    @property
    def filled(self) -> float:
        """The part of its entries that are there; reads the whole index."""
        with suppress(OSError):
            index = np.fromfile(self.folder / "index", "<i4")
            return np.count_nonzero(index) / max(len(index), 1)
        return 0.0


class TableShelf:
    """The tables under one directory. Each process keeps `used` of those it has open locked (shared)."""

    def __init__(self, root: Path, limit: int = LIMIT_BYTES, free_bytes: int = FREE_BYTES) -> None:
        self.root, self.limit, self.free_bytes = root, limit, free_bytes
        self._open: dict[str, tuple[LogitTable, int]] = {}

    def open(self, key: TableKey, entries: int, width: int, dtype: str) -> LogitTable | None:
        """The table of that key, empty if it is new; None where the disk does not allow one, or the limit is 0."""
        if key.name in self._open:
            return self._open[key.name][0]
        if not self.limit:
            return None
        folder = self.root / key.name
        try:
            held = self._hold(folder)
            table = LogitTable(folder, key, entries, width, dtype)
        except (OSError, EnvironmentRefused) as error:
            log.warning("no table of the teacher's logits: %s", error)
            return None
        table.room = self._has_room
        self._open[key.name] = table, held
        return table

    def close(self) -> None:
        """Let go of every table: others may evict them."""
        for table, held in self._open.values():
            table.close()
            os.close(held)
        self._open.clear()

    def tables(self) -> list[Shelved]:
        """Those that are there, least recently used first."""
        return sorted(self._shelved(), key=lambda one: one.used)

    def _shelved(self) -> Iterator[Shelved]:
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            try:
                card = json.loads((folder / "table.json").read_bytes())
                size = sum(file.stat().st_blocks * 512 for file in folder.iterdir())
                yield Shelved(folder, card, size, (folder / "used").stat().st_mtime)
            except (OSError, ValueError):
                continue  # gone meanwhile, not yet begun, or not ours

    def _hold(self, folder: Path) -> int:
        """Lock the table against eviction, and note that it was used. Raises OSError."""
        while True:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = folder / "used"
            held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(held, fcntl.LOCK_SH)
            try:
                if path.stat().st_ino == os.fstat(held).st_ino:
                    os.utime(held)
                    return held
            except FileNotFoundError:
                pass  # evicted between the two lines above
            os.close(held)

    def _has_room(self, size: int) -> bool:
        """Whether so many bytes more may be written, if need be after an eviction."""
        tables = self.tables()
        while not self._fits(tables, size):
            victim = next((one for one in tables if one.folder.name not in self._open and self.evict(one)), None)
            if victim is None:
                return False
            tables.remove(victim)
        return True

    def _fits(self, tables: list[Shelved], size: int) -> bool:
        if sum(one.bytes for one in tables) + size > self.limit:
            return False
        place = self.root
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free - size >= self.free_bytes

    def evict(self, table: Shelved) -> bool:
        """Remove it unless somebody has it open; whether it is gone."""
        try:
            held = os.open(table.folder / "used", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = table.folder.with_name(f"{EVICTED}{table.folder.name.removeprefix(EVICTED)}")
            table.folder.rename(gone)  # whoever waits for the lock sees that there is another table now, or none
            shutil.rmtree(gone)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
                log.warning("%s cannot be evicted: %s", table.folder, error.strerror or error)
            return False
        finally:
            os.close(held)
        log.info("%s: evicted, it was used least recently", table.folder)
        return True
