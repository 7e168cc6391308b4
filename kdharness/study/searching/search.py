"""All searches of a study: opened by `run`, and asked to go on whenever runs have ended.

A draw's runs train on train minus the validation images, as do the teachers that are trained for them. When a search
has chosen, the constants of its winner are trained as final runs, on all of train, for the study's pairs and seeds.
"""

from collections.abc import Callable, Iterable

from kdharness.core.errors import EnvironmentRefused
from kdharness.core.records import WantedRun
from kdharness.results.search_records import SearchRow
from kdharness.study.expand import Expansion
from kdharness.study.searching.row import RowSearch, SearchStore
from kdharness.study.searching.sampling import require


class Search:
    """All searches of a study. `advance` is called at the beginning and whenever runs have ended."""

    def __init__(self, expansion: Expansion, store: SearchStore, copy: Callable[[], object] | None = None) -> None:
        """`copy` is called as generations end, to write what others look at; where it is refused, that is a note.

        Raises EnvironmentRefused where Optuna is not installed and the study has a search.
        """
        self._copy = copy
        self._refused = ""
        self._copied = (-1, False)
        self._expansion = expansion
        self._store = store
        self._asked: set[tuple[str, str, str]] = set()
        self._is_known = False
        if expansion.searched and expansion.study.spec.search is not None:
            require(expansion.study.spec.search.sampler)
        self._rows = [RowSearch(expansion, row, store, self._extend) for row in expansion.searched]

    @property
    def is_done(self) -> bool:
        """After an `advance`: whether every search has chosen, or found nothing to choose from."""
        return all(row.is_done for row in self._rows)

    @property
    def watches(self) -> bool:
        """Whether it looks at runs while they go on, to prune them."""
        return any(row.record.prefix is not None and not row.is_done for row in self._rows)

    @property
    def notes(self) -> list[str]:
        """Searches that ended without a draw to choose, and a copy that could not be written."""
        return [row.note for row in self._rows if row.note] + ([self._refused] if self._refused else [])

    def advance(self) -> int:
        """Ask the store for the runs that can be chosen now; how many wait that did not before.

        Asking again for runs that stand there changes nothing, so a search may be opened by several processes.
        """
        if not self._is_known:
            for row in self._rows:
                row.open()
            rows = [SearchRow(row.name, row.record.model_dump(mode="json", by_alias=True)) for row in self._rows]
            self._store.save_searches(self._expansion.study.name, rows)
            self._is_known = True
        before = len(self._asked)
        woken = sum(row.advance() for row in self._rows)
        if self._copy is not None and self._rows and self._copied != (len(self._asked), self.is_done):
            self._copied = (len(self._asked), self.is_done)
            try:
                self._copy()
                self._refused = ""
            except EnvironmentRefused as error:
                self._refused = str(error)
        return len(self._asked) - before + woken

    def _extend(self, wanted: Iterable[WantedRun]) -> None:
        fresh = {(run.run_id, run.label, run.pair): run for run in wanted}
        fresh = {key: run for key, run in fresh.items() if key not in self._asked}
        if fresh:
            self._store.extend_study(self._expansion.study.name, list(fresh.values()))
            self._asked.update(fresh)
