"""Which runs will look up nearly all that their teacher says: sharing batches with others saves them nothing."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from kdharness.core.records import Setting
from kdharness.results.records import QueueRow
from kdharness.results.store import Store
from kdharness.runtime.options import JobOptions
from kdharness.training.table_shelf import Shelved, TableShelf

WARM = 0.9
"""Of a table's entries: a tenth of the teacher's work is left at most."""
_ASKED = frozenset({"no teacher", "a peer", "feature maps", "teacher in train mode"})
"""What methods need that no table has."""


class WarmTables:
    """The tables of a home, looked at from the outside: one that changes meanwhile only makes a plan less good."""

    def __init__(self, store: Store, tables: Path, device: str, options: JobOptions) -> None:
        self._store = store
        self._shelf = TableShelf(tables)
        self._on_cpu = device == "cpu"
        self._same = {"threads": options.threads, "layout": options.layout}
        self._filled: dict[Path, tuple[int, bool]] = {}
        self._wanted: dict[str, list[dict[str, Any]]] = {}

    def runs(self, queue: Sequence[QueueRow]) -> frozenset[str]:
        """Those of the runs that can start whose every table is there, filled but for a little."""
        cards = [table.card for table in self._shelf.tables() if self._is_filled(table)]
        if not cards:
            return frozenset()
        complete = {row.run_id for row in queue if row.state == "complete"}
        ready = (row for row in queue if row.state == "waiting" and complete.issuperset(row.needs))
        taught = (row for row in ready if row.common is not None and row.common.answers)
        return frozenset(row.run_id for row in taught if self._is_warm(row, cards))

    def _is_filled(self, table: Shelved) -> bool:
        written = table.written
        if self._filled.get(table.folder, (0, False))[0] != written:
            self._filled[table.folder] = written, table.filled >= WARM
        return self._filled[table.folder][1]

    def _is_warm(self, row: QueueRow, cards: Sequence[dict[str, Any]]) -> bool:
        setting = row.run_id.rpartition("-")[0]
        if setting not in self._wanted:
            self._wanted[setting] = self._cards(self._store.setting(row.run_id)[0])
        wanted = self._wanted[setting]
        return bool(wanted) and all(any(self._fits(card, one) for card in cards) for one in wanted)

    def _fits(self, card: dict[str, Any], wanted: dict[str, Any]) -> bool:
        computed = card["numerics"]
        return (
            all(card[name] == value for name, value in wanted.items())
            and all(computed[name] == value for name, value in self._same.items())
            and computed["device_kind"].startswith("cpu ") == self._on_cpu
        )

    def _cards(self, setting: Setting) -> list[dict[str, Any]]:
        """What must stand on the cards of the tables that answer for its views; none where no table can."""
        from kdharness.distillers.sums import method

        weights = [
            one.weights_sha256 or (self._store.weights_of(one.run) if one.run else None) for one in setting.teachers
        ]
        if None in weights or any(_ASKED & _needs(name) for name in setting.distiller.split(" + ")):
            return []
        kind, recipe = method(setting.distiller), setting.recipe
        needs = kind(kind.Config.model_validate(dict(setting.constants))).needs
        card = {
            "models": [f"{one.model} {one.revision}" for one in setting.teachers],
            "weights_sha256": weights,
            "fingerprint": setting.fingerprint,
            "normalization": recipe.normalization,
            "image_size": recipe.image_size,
            "teacher_image_size": recipe.teacher_image_size,
            "precision": "fp32" if recipe.precision == "tf32" and self._on_cpu else recipe.precision,
            "pooled": needs.teacher_pooled,
        }
        seen = {recipe.augment} | ({recipe.second_view or recipe.augment} if needs.views == 2 else set())
        return [card | {"augment": augment} for augment in sorted(seen)]


@cache
def _needs(distiller: str) -> frozenset[str]:
    from kdharness.distillers.listing import needs_in_words
    from kdharness.distillers.registry import DISTILLERS

    return frozenset(needs_in_words(DISTILLERS.get(distiller)))
