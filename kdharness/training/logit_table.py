"""A table on disk of what a frozen teacher says to each view of each training image, shared by processes.

A table is a directory of three files. `blocks` only grows: each block holds 64 rows, the numbers of the entries that
they answer, and a CRC-32 over both. `index` has an int32 per entry: 0 while it is missing, else 1 + its place among the
rows; it is the validity bit, written after the row is durable, so that a process killed at any moment leaves at worst
a block that nothing points to. Nobody changes a block, so readers take no lock; writers take `lock` one at a time.
"""

import fcntl
import json
import logging
import mmap
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdharness.core.keys import Frozen, canonical, key_of
from kdharness.core.records import ENGINE_REVISION, Numerics, Precision
from kdharness.training.files import write_durably

TILE = 64
"""Rows of a block: as many as a teacher answers at once."""
FORMAT = 1
LOCK_SECONDS = 5.0
"""A writer that waits longer for another gives up; what it computed is used all the same."""

log = logging.getLogger(__name__)
Entries = npt.NDArray[np.int64]
"""(B,): an image's position in the full official train split times the number of views, plus the view."""
Rows = npt.NDArray[Any]
"""(B, width), float32 or float64."""


class TableKey(Frozen):
    """All that decides on a row's bits, and on what an entry's number means."""

    models: tuple[str, ...]
    """Each as `name revision`; several are an ensemble, whose mean logits the table holds."""
    weights_sha256: tuple[str, ...]
    fingerprint: str
    augment: str
    views: int
    normalization: str
    image_size: int | None
    teacher_image_size: int | None
    precision: Precision
    pooled: bool
    """Pooled features follow the logits in each row."""
    numerics: Numerics
    """A table serves those who would compute the same bits."""
    engine_revision: int = ENGINE_REVISION
    format: int = FORMAT

    @property
    def name(self) -> str:
        """Of the table's directory."""
        return key_of(self)[:32]


class LogitTable:
    """One table, open for reading and for adding to; closed with the process, or by `close`."""

    def __init__(self, folder: Path, key: TableKey, entries: int, width: int, dtype: str) -> None:
        """Open it, or begin it empty. Raises OSError where the directory cannot be written."""
        self.folder, self.entries, self.width = folder, entries, width
        self._block = np.dtype(
            [("crc", "<u8"), ("entries", "<i8", (TILE,)), ("rows", np.dtype(dtype).newbyteorder("<"), (TILE, width))]
        )
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._index_file, self._blocks_file, self._lock_file = (
            os.open(folder / name, flags, 0o644) for name in ("index", "blocks", "lock")
        )
        if os.fstat(self._index_file).st_size != 4 * entries:
            os.ftruncate(self._index_file, 4 * entries)  # sparse: holes read as 0
        card = folder / "table.json"
        if not card.exists():
            write_durably(card, (json.dumps(canonical(key), indent=1) + "\n").encode())
        self._index = np.frombuffer(mmap.mmap(self._index_file, 0, prot=mmap.PROT_READ), "<i4")
        self._blocks: npt.NDArray[Any] = np.empty(0, self._block)
        self._sound = np.empty(0, bool)
        self._patience = LOCK_SECONDS
        self.room: Callable[[int], bool] = lambda _: True
        """Whether so many bytes more may be written: asked before each addition."""
        self.takes_more = True
        """Whether additions are still written: not after the disk or `room` has refused one."""

    def close(self) -> None:
        """Give its files back; rows that were read stay."""
        for file in (self._index_file, self._blocks_file, self._lock_file):
            os.close(file)

    @property
    def filled(self) -> int:
        """How many entries are there."""
        return int(np.count_nonzero(self._index))

    def has(self, entries: Entries) -> npt.NDArray[np.bool_]:
        """Which of them are there, as far as the index says: (B,)."""
        return self._index[entries] > 0

    def missing(self, start: int, stop: int) -> Entries:
        """The entries in [start, stop) that are not there."""
        return start + np.flatnonzero(self._index[start:stop] == 0)

    def read(self, entries: Entries) -> tuple[npt.NDArray[np.bool_], Rows]:
        """Which of them are there, and the rows, (B, width); a row that is not there is 0.

        A block is checked when it is first read from; entries of a damaged one are forgotten, which the log says.
        """
        place = self._index[entries].astype(np.int64) - 1
        block, row = np.divmod(place, TILE)
        self._map(int(block.max(initial=-1)))
        for number in np.unique(block[place >= 0]).tolist():
            if number >= len(self._sound) or not (self._sound[number] or self._is_sound(number)):
                self._forget(number)
                place[block == number] = -1
        there = np.flatnonzero(place >= 0)
        astray = self._blocks["entries"][block[there], row[there]] != entries[there]
        if astray.any():
            self._forget_entries(entries[there[astray]])
            there = there[~astray]
        rows = np.zeros((len(entries), self.width), self._block["rows"].base)
        rows[there] = self._blocks["rows"][block[there], row[there]]
        found = np.zeros(len(entries), bool)
        found[there] = True
        return found, rows

    def add(self, entries: Entries, rows: Rows) -> bool:
        """Append the rows of those entries (no number twice) that are not there yet; whether it could be done."""
        if not self.takes_more or not self._locked():
            return False
        try:
            new = ~self.has(entries)
            entries, rows = entries[new], rows[new]
            count = -(-len(entries) // TILE)
            if not self.room(count * self._block.itemsize):
                return self._full("no room is left")
            # behind whatever a killed writer has left half written
            first = -(-os.fstat(self._blocks_file).st_size // self._block.itemsize)
            try:
                _write(self._blocks_file, self._packed(entries, rows, count), first * self._block.itemsize)
                os.fdatasync(self._blocks_file)
                for place, entry in enumerate(entries.tolist(), first * TILE + 1):
                    _write(self._index_file, place.to_bytes(4, "little"), 4 * entry)
            except OSError as error:  # the disk is full or broken: runs go on without
                return self._full(error.strerror or str(error))
            return True
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _packed(self, entries: Entries, rows: Rows, count: int) -> bytes:
        blocks = np.zeros(count, self._block)
        numbers = np.full(count * TILE, -1, np.int64)
        numbers[: len(entries)] = entries
        blocks["entries"] = numbers.reshape(count, TILE)
        for block, start in zip(blocks, range(0, len(entries), TILE), strict=True):
            part = rows[start : start + TILE]
            block["rows"][: len(part)] = part
        for number in range(count):
            blocks["crc"][number] = _crc(blocks, number)
        return blocks.tobytes()

    def _map(self, block: int) -> None:
        """Map what has been written since, where `block` lies beyond what is mapped."""
        whole = os.fstat(self._blocks_file).st_size // self._block.itemsize if block >= len(self._blocks) else 0
        if whole > len(self._blocks):
            mapped = mmap.mmap(self._blocks_file, whole * self._block.itemsize, prot=mmap.PROT_READ)
            self._blocks = np.frombuffer(mapped, self._block)
            self._sound = np.concatenate((self._sound, np.zeros(whole - len(self._sound), bool)))

    def _is_sound(self, number: int) -> bool:
        self._sound[number] = int(self._blocks["crc"][number]) == _crc(self._blocks, number)
        return bool(self._sound[number])

    def _forget(self, block: int) -> None:
        """Every entry of a damaged block is missing from now on."""
        there = (self._index > block * TILE) & (self._index <= (block + 1) * TILE)
        lost = np.flatnonzero(there)
        log.warning("%s: block %d is damaged, its %d entries are computed again", self.folder, block, len(lost))
        self._clear(lost)

    def _forget_entries(self, lost: Entries) -> None:
        log.warning("%s: the index is damaged, %d entries are computed again", self.folder, len(lost))
        self._clear(lost)

    def _clear(self, lost: Entries) -> None:
        for entry in lost.tolist():
            _write(self._index_file, bytes(4), 4 * entry)

    def _locked(self) -> bool:
        """Take the writers' lock, or give up after a while, and then at once: its holder may have been stopped."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    self._patience = 0.0
                    return False
                time.sleep(0.002)
            else:
                self._patience = LOCK_SECONDS
                return True

    def _full(self, why: str) -> bool:
        self.takes_more = False
        log.warning("%s: %s; what is missing is computed and not kept", self.folder, why)
        return False


def _crc(blocks: npt.NDArray[Any], number: int) -> int:
    """Over a block's entry numbers and rows."""
    return zlib.crc32(blocks[number : number + 1].view(np.uint8)[8:].data)


def _write(file: int, data: bytes, offset: int) -> None:
    """All of it, however few bytes a call takes."""
    view = memoryview(data)
    while view:
        done = os.pwrite(file, view, offset)
        view, offset = view[done:], offset + done
