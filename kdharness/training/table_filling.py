"""A frozen teacher that is asked about each view of an image once: what it has said comes from a table.

A table never moves a bit. Rows are computed in tiles of 64 whatever the batch is; so at each size of batch, before the
table answers for one, the teacher's rows for that batch are compared with those of tiles in which the same images
stand at other places beside others. Where one bit differs, batches of that size are computed every time.
"""

import json
import logging
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdharness.core.errors import EnvironmentRefused
from kdharness.core.types import Model, Outputs, Withheld
from kdharness.training.data import Data, Point
from kdharness.training.files import write_durably
from kdharness.training.frozen import SMALLEST_TEACHER_BATCH, FrozenForwards
from kdharness.training.inputs import dtype_of, shrunk
from kdharness.training.logit_table import TILE, Entries, LogitTable, Rows, TableKey
from kdharness.training.numerics import numerics
from kdharness.training.table_shelf import TableShelf

AHEAD = 64 * TILE
"""Images to come that are looked at for what would fill up a tile."""
AGREEMENT = "agreement.json"
"""Size of batch -> whether the teacher's rows for one are those of tiles."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TeacherIdentity:
    """Which network it is: what a table is found by."""

    models: tuple[str, ...]
    """Each as `name revision`."""
    weights_sha256: tuple[str, ...]


class TabledTeacher:
    """One teacher at one precision and image size, with its tables: one per augmentation."""

    def __init__(
        self,
        network: Model,
        identity: TeacherIdentity,
        data: Data,
        shelf: TableShelf,
        forward: FrozenForwards,
        *,
        pooled: bool,
        image_size: int | None,
    ) -> None:
        """`image_size` is what the student's images are shrunk to; with `pooled` rows hold pooled features too."""
        self._network, self._identity, self._data, self._shelf = network, identity, data, shelf
        self._forward = forward
        self._pooled, self._image_size = pooled, image_size
        self._classes = data.dataset.num_classes
        self._tables: dict[Point, LogitTable | None] = {}
        self._agreed: dict[tuple[Path, int], bool] = {}

    def answer(self, point: Point) -> Outputs | None:
        """What the teacher says to the batch at `point`: None where it must be asked itself.

        What is missing is computed and kept, together with as much of the coming batches as fills tiles.
        """
        table = self._table(point)
        if table is None:
            return None
        entries = self._data.entries(point).numpy()
        if not self._agrees(table, point, len(entries)):
            return None
        rows = self._rows(table, point, entries)
        return self._outputs(torch.from_numpy(rows)) if rows is not None else None

    def fill(self, point: Point, tiles: int = 8) -> Iterator[tuple[int, int]]:
        """Compute every entry that is missing: how many are there now and shall be, again and again.

        Ends early where no more can be kept; gives nothing where there can be no table.
        """
        table = self._table(point)
        if table is None or not self._agrees(table, point, TILE):
            return
        done, every = table.filled, table.entries
        yield done, every
        step = tiles * TILE
        waiting = np.empty(0, np.int64)
        for start in range(0, every, step):
            waiting = np.concatenate((waiting, table.missing(start, min(start + step, every))))
            while len(waiting) >= step or (len(waiting) and start + step >= every):
                now, waiting = waiting[:step], waiting[step:]
                if not table.add(now, self._computed(point, now)):
                    return
                done += len(now)
                yield done, every

    def _table(self, point: Point) -> LogitTable | None:
        """None where there are endlessly many views, images are decoded when wanted, or the disk allows none."""
        kind = replace(point, seed=0, epoch=0, position=0, batch_size=TILE, stream="")
        if kind not in self._tables:
            views = self._data.views(point)
            self._tables[kind] = self._open(kind, views) if views is not None else None
        return self._tables[kind]

    def _open(self, kind: Point, views: int) -> LogitTable | None:
        data, device = self._data, self._data.device
        # a CPU knows no tf32
        precision = "fp32" if kind.precision == "tf32" and device.type == "cpu" else kind.precision
        key = TableKey(
            models=self._identity.models,
            weights_sha256=self._identity.weights_sha256,
            fingerprint=data.dataset.fingerprint,
            augment=kind.augment,
            views=views,
            normalization=kind.normalization,
            image_size=kind.image_size,
            teacher_image_size=self._image_size,
            precision=precision,
            pooled=self._pooled,
            numerics=numerics(data.execution.model_copy(update={"compile": False})),  # no teacher is
        )
        width = self._classes + (math.prod(self._network.shapes["pooled"]) if self._pooled else 0)
        dtype = "f8" if dtype_of(precision) == torch.float64 else "f4"
        return self._shelf.open(key, data.dataset.train_size * views, width, dtype)

    def _rows(self, table: LogitTable, point: Point, entries: Entries) -> Rows | None:
        """(B, width) for the batch at `point`; None where something is missing and no more can be kept."""
        found, rows = table.read(entries)
        if found.all():
            return rows
        if not table.takes_more:
            return None
        missing, place = np.unique(entries[~found], return_inverse=True)
        lacking = -len(missing) % TILE
        if lacking:
            coming = self._data.entries(point, batches=-(-AHEAD // point.batch_size)).numpy()
            ahead = coming[~table.has(coming) & ~np.isin(coming, missing)]
            _, first = np.unique(ahead, return_index=True)
            missing = np.concatenate((missing, ahead[np.sort(first)[:lacking]]))
        computed = self._computed(point, missing)
        table.add(missing, computed)
        rows[~found] = computed[place]  # also where they could not be kept
        return rows

    def _computed(self, point: Point, entries: Entries) -> Rows:
        """(N, width): in tiles, the last one filled up by repeats."""
        tiles = [entries[start : start + TILE] for start in range(0, len(entries), TILE)]
        parts = [self._rows_of(self._live(point, np.resize(tile, TILE))) for tile in tiles]
        return torch.cat(parts)[: len(entries)].numpy()

    def _live(self, point: Point, entries: Entries) -> Outputs:
        """What the teacher says to them side by side."""
        images = self._data.viewed(point, torch.from_numpy(entries))
        return self._forward(self._network, shrunk(images, self._image_size), point.precision)

    def _rows_of(self, outputs: Outputs) -> Tensor:
        """(B, width), on the CPU: as the table keeps them."""
        parts = (outputs.logits, outputs.pooled.flatten(1)) if self._pooled else (outputs.logits,)
        return torch.cat(parts, 1).cpu()

    def _outputs(self, rows: Tensor) -> Outputs:
        rows = self._data.there(rows)
        if not self._pooled:
            return Outputs(rows, Withheld())
        pooled = rows[:, self._classes :].contiguous().view(-1, *self._network.shapes["pooled"])
        return Outputs(rows[:, : self._classes].contiguous(), pooled)

    def _agrees(self, table: LogitTable, point: Point, size: int) -> bool:
        """Whether the teacher's rows for a batch of that size are those of tiles: tried once, and remembered."""
        size = max(size, SMALLEST_TEACHER_BATCH)
        if (table.folder, size) not in self._agreed:
            path = table.folder / AGREEMENT
            try:
                known = json.loads(path.read_bytes())
            except (OSError, ValueError):
                known = {}
            if str(size) not in known:
                known[str(size)] = self._tried(table, point, size)
                with suppress(EnvironmentRefused):  # then the next process tries it, too
                    write_durably(path, json.dumps(known).encode())
                if not known[str(size)]:
                    models = " + ".join(self._identity.models)
                    log.warning("%s: batches of %d have other bits than tiles of %d: no table", models, size, TILE)
            self._agreed[table.folder, size] = known[str(size)]
        return self._agreed[table.folder, size]

    def _tried(self, table: LogitTable, point: Point, size: int) -> bool:
        """A batch of that size against two arrangements of its images and others in tiles, which the table keeps."""
        coming = self._data.entries(replace(point, position=0), batches=-(-(size + TILE) // point.batch_size)).numpy()
        batch = np.resize(coming, size)
        live = self._live(point, batch)
        if not (live.logits.is_contiguous() and (live.pooled.is_contiguous() or not self._pooled)):
            return False  # sums over a row of the table could be taken in another order
        others = np.resize(coming[::-1], -(-size // TILE) * TILE + TILE - size)  # whole tiles
        mixed = np.concatenate((batch, others))
        order = np.arange(len(mixed))
        for arrangement in (order[::-1], np.roll(order.reshape(2, -1).T.ravel(), TILE // 3)):
            rows = self._computed(point, mixed[arrangement])[np.argsort(arrangement)]
            if not torch.equal(_bits(torch.from_numpy(rows[:size])), _bits(self._rows_of(live))):
                return False
        kept, place = np.unique(mixed, return_index=True)
        table.add(kept, rows[place])
        return True


def _bits(values: Tensor) -> Tensor:
    """The same as integers: equal where every bit is, NaN and the sign of 0 included."""
    return values.contiguous().view(torch.int64 if values.dtype == torch.float64 else torch.int32)
