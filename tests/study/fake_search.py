"""A store for searches that keeps what they say, and ends their runs by values that depend on the setting alone."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from study_texts import SOUND, expanded

from kdharness.core.records import State, WantedRun
from kdharness.results.records import EpochMetric, StudyChange
from kdharness.results.search_records import Draw, DrawRun, SearchRow
from kdharness.study.searching.search import Search

SEARCH = "search: {pairs: [resnet20 -> resnet8], draws: 14, generation: 4}\n"
SEARCHED = (
    SOUND.replace(
        "- none\n",
        "- {name: dkd, temperature: {float: [1, 16], log: true}, warmup: {int: [0, 9]}, "
        "standardize: {choice: [none, zscore]}, recipe: {lr: {float: [0.01, 0.04]}}}\n",
    )
    + SEARCH
)


def by_setting(run: WantedRun) -> float:
    """Highest at temperature 3 and a low learning rate; a seed moves it a little."""
    setting = run.setting
    temperature, lr = float(setting.constants["temperature"]), setting.recipe.lr
    return 90 - abs(math.log(temperature / 3)) - 10 * lr + 0.01 * run.seed


class FakeStore:
    """Keeps what a search says; `finish` ends a waiting search run."""

    def __init__(self, value: Callable[[WantedRun], float] = by_setting) -> None:
        self.value = value
        self.searches: list[SearchRow] = []
        self.outcomes: dict[str, Mapping[str, Any] | None] = {}
        self.saved: dict[tuple[str, int], Draw] = {}
        self.later: dict[tuple[str, int, int, int], DrawRun] = {}
        self.runs: dict[str, WantedRun] = {}
        self.results: dict[str, tuple[State, Mapping[str, float]]] = {}
        self.epochs: dict[str, list[EpochMetric]] = {}
        self.saves_left = math.inf

    def save_searches(self, study: str, searches: Sequence[SearchRow]) -> None:
        self.searches = list(searches)

    def save_outcome(self, study: str, name: str, outcome: Mapping[str, Any] | None) -> None:
        self.outcomes[name] = outcome

    def draws(self, study: str, label: str) -> list[Draw]:
        return [self._ended(draw) for (name, _), draw in sorted(self.saved.items()) if name == label]

    def draw_runs(self, study: str, label: str) -> list[DrawRun]:
        return [self._ended(run) for (name, *_), run in sorted(self.later.items()) if name == label]

    def epoch_metrics(self, run_id: str) -> list[EpochMetric]:
        return self.epochs.get(run_id, [])

    def prune_draw(self, study: str, label: str, number: int, epoch: int) -> None:
        self._save()
        self.saved[label, number] = replace(self.saved[label, number], pruned_epoch=epoch)

    def prune(self, study: str, run_ids: Sequence[str], message: str) -> int:
        ended = [run_id for run_id in run_ids if run_id not in self.results]
        self.results.update(dict.fromkeys(ended, ("pruned", {})))
        return len(ended)

    def wake(self, study: str, run_ids: Sequence[str]) -> int:
        pruned = [run_id for run_id in run_ids if self.results.get(run_id, ("",))[0] == "pruned"]
        return len([self.results.pop(run_id) for run_id in pruned])

    def _ended(self, one: Any) -> Any:
        state, metrics = self.results.get(one.run_id, ("waiting", {}))
        return replace(one, state=state, metrics=metrics)

    def save_draw(
        self,
        study: str,
        label: str,
        number: int,
        generation: int,
        params: Mapping[str, Any],
        run_id: str,
        cost: float | None = None,
    ) -> None:
        assert run_id in self.runs
        self._save()
        known = self.saved.get((label, number))
        pruned = known.pruned_epoch if known is not None else None
        self.saved[label, number] = Draw(
            label, number, generation, dict(params), run_id, cost=cost, pruned_epoch=pruned
        )

    def save_draw_runs(self, study: str, runs: Sequence[DrawRun]) -> None:
        self._save()
        for run in runs:
            assert run.run_id in self.runs and (run.label, run.number) in self.saved
            self.later[run.label, run.number, run.rung, run.seed] = run

    def _save(self) -> None:
        if self.saves_left <= 0:
            raise KeyboardInterrupt
        self.saves_left -= 1

    def extend_study(self, name: str, wanted: Sequence[WantedRun]) -> StudyChange:
        assert all(
            need.run_id in self.runs or need in {run.key for run in wanted} for run in wanted for need in run.needs
        )
        self.runs.update((run.run_id, run) for run in wanted)
        return StudyChange(len(wanted), 0, 0, 0)

    def waiting(self) -> list[WantedRun]:
        return [run for run in self.runs.values() if run.purpose == "search" and run.run_id not in self.results]

    def finish(self, run: WantedRun) -> None:
        self.train(run, run.setting.recipe.epochs)
        self.results[run.run_id] = ("complete", {"val_top1_last": self.value(run)})

    def train(self, run: WantedRun, epoch: int) -> None:
        """Bring it to the end of an epoch: its accuracy rises evenly."""
        whole = run.setting.recipe.epochs
        self.epochs[run.run_id] = [
            EpochMetric("val_top1", one, self.value(run) * one / whole, 0) for one in range(1, epoch + 1)
        ]

    def params(self) -> list[Mapping[str, Any]]:
        return [draw.params for _, draw in sorted(self.saved.items())]

    def finals(self, label: str | None = None) -> list[WantedRun]:
        """The final runs, those with the papers' constants under a label of their own."""
        return [run for run in self.runs.values() if run.purpose == "final" and label in (None, run.label)]


def to_the_end(text: str, store: FakeStore, *, reopen: bool = False, shuffle: int | None = None) -> Search:
    """Run the search; with `shuffle` one run at a time ends, in an order of its own."""
    expansion = expanded(text)
    search = Search(expansion, store)
    search.advance()
    for _ in range(500):
        waiting = store.waiting()
        if not waiting:
            return search
        if shuffle is not None:
            random.Random(shuffle).shuffle(waiting)
            waiting = waiting[:1]
        for run in waiting:
            store.finish(run)
        if reopen:
            search = Search(expansion, store)
        search.advance()
    raise AssertionError("the search does not end")
