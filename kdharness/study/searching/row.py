"""The search of one row at one point of its axes: its trainings asked of the store, and what they come to."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from kdharness.core.errors import StudyError
from kdharness.core.records import State, WantedRun
from kdharness.reporting.budgets import PAPERS
from kdharness.results.records import DrawRun, SearchRow, StudyChange
from kdharness.study.cost import student_cost
from kdharness.study.expand import Expansion, SearchedRow
from kdharness.study.resolve import any_values, value_of
from kdharness.study.searching.course import Point, Result, Stand, Training, stand
from kdharness.study.searching.points import DrawStore, read_points
from kdharness.study.searching.prefix import PRUNERS
from kdharness.study.searching.record import SearchRecord
from kdharness.study.searching.sampling import SAMPLERS, Proposals
from kdharness.study.searching.schedule import shortened
from kdharness.study.searching.space import brought_inside
from kdharness.study.searching.watching import Watch, WatchStore
from kdharness.study.students import settled, student_runs
from kdharness.study.teachers import teacher_runs, trained


class SearchStore(WatchStore, DrawStore, Protocol):
    """What a search needs of the results."""

    def save_draw(
        self,
        study: str,
        label: str,
        number: int,
        generation: int,
        params: Mapping[str, Any],
        run_id: str,
        cost: float | None = None,
    ) -> None: ...

    def save_draw_runs(self, study: str, runs: Sequence[DrawRun]) -> None: ...

    def save_searches(self, study: str, searches: Sequence[SearchRow]) -> None: ...

    def save_outcome(self, study: str, name: str, outcome: Mapping[str, Any] | None) -> None: ...

    def retry(self, study: str, run_ids: Sequence[str] | None = None) -> int: ...

    def extend_study(self, name: str, wanted: Sequence[WantedRun]) -> StudyChange: ...


class RowSearch:
    """The search of one row at one point of its axes."""

    def __init__(
        self,
        expansion: Expansion,
        searched: SearchedRow,
        store: SearchStore,
        extend: Callable[[Iterable[WantedRun]], None],
    ) -> None:
        part = expansion.study.spec.search
        assert part is not None  # a range without a search is no study
        self._expansion, self._searched, self._part = expansion, searched, part
        self._study, self._dataset, self._store, self._extend = expansion.study, expansion.dataset, store, extend
        self._templates = searched.on(self._study.spec)
        self._teachers = {
            model: trained(self._study.spec, self._dataset, model, part.validation)
            for one in self._templates
            for model in one.pair.teachers
        }
        self.record = self._record()
        self.name = self._name()
        """Under which its draws are kept: the label, and what it searches in, by which an edited search starts anew."""
        self._asked: set[Training] = set()
        self._states: dict[int, dict[str, State]] = {}
        self._chosen: int | None = None
        prefix = self.record.prefix is not None
        self._watch = Watch(self.record, self._study.name, self.name, store, self._epochs) if prefix else None
        self.is_done = False
        self.note = ""

    def advance(self) -> None:
        """Ask for all that can be known now: trainings of the draws so far, the next generation, or the choice."""
        while True:
            points = self.points()
            if self._watch is not None:
                points = self._watch.pruned(points)
            points = [self._wanted_again(point) for point in points]
            now = stand(self.record, points)
            fresh = [one for one in now.needed if one not in self._asked]
            if fresh:
                self._train(fresh, points)
            elif now.wants_draws:
                self._draw(points)
            else:
                break
        self.is_done = now.is_done
        if now.is_done and (now.winner is None or now.winner != self._chosen):
            self._conclude(now, points)

    # What is known

    def points(self) -> list[Point]:
        """The stored draws that all search pairs have, in number order."""
        points, self._states = read_points(self._store, self._study.name, self.name, self.record)
        return points

    def _wanted_again(self, point: Point) -> Point:
        """A run that another search has pruned goes on from its last checkpoint."""
        pruned = [run_id for run_id, state in self._states[point.number].items() if state == "pruned"]
        if point.pruned_epoch is not None or not pruned:
            return point
        self._store.retry(self._study.name, pruned)
        return replace(point, results={**point.results, (0, self.record.seeds[0]): Result(False)})

    def _epochs(self, number: int, params: Mapping[str, Any]) -> int:
        """Of the whole schedule of a draw."""
        return self._runs(number, params)[0][-1].setting.recipe.epochs

    # What is asked for

    def _train(self, trainings: Sequence[Training], points: Sequence[Point]) -> None:
        """Ask for the runs of these trainings; those after a draw's first are kept with it."""
        wanted: list[WantedRun] = []
        kept: list[DrawRun] = []
        for number, rung, seed in trainings:
            chains = self._runs(number, points[number].params, rung, seed)
            wanted += [run for chain in chains for run in chain]
            if (rung, seed) != (0, self.record.seeds[0]):
                places = zip(self.record.places.values(), chains, strict=True)
                kept += [DrawRun(self.name + place, number, rung, seed, chain[-1].run_id) for place, chain in places]
        # first the runs, then what names them; after a stop in between the same ones are asked for again
        self._extend(teacher_runs(self._teachers, wanted) + wanted)
        if kept:
            self._store.save_draw_runs(self._study.name, kept)
        self._asked.update(trainings)

    def _draw(self, points: Sequence[Point]) -> None:
        """Draw the next generation and keep it; what of it was kept before a stop comes out the same."""
        first = len(points) - len(points) % self.record.generation
        asked = Proposals(self.record, self._identity).generation(points, points[:first])
        runs = {number: self._runs(number, params) for number, params in asked}
        wanted = [run for chains in runs.values() for chain in chains for run in chain]
        self._extend(teacher_runs(self._teachers, wanted) + wanted)
        generation = first // self.record.generation
        for number, params in asked:
            for place, chain, cost in zip(
                self.record.places.values(), runs[number], self._costs(number, params, runs[number]), strict=True
            ):
                self._store.save_draw(
                    self._study.name, self.name + place, number, generation, params, chain[-1].run_id, cost
                )
            self._asked.add((number, 0, self.record.seeds[0]))

    def _runs(
        self, number: int, params: Mapping[str, Any], rung: int = 0, seed: int | None = None
    ) -> list[list[WantedRun]]:
        """For each search pair the draw's run, after those of its assistants."""
        chosen = {**self._searched.chosen, **params}
        return [
            student_runs(
                self._study,
                self._dataset,
                one,
                here := {name: chosen[name] for name in one.names if name in chosen},
                shortened(settled(self._study, one, here, f"search draw {number}"), self.record.fractions[rung]),
                self._teachers,
                seeds=[self._study.spec.seed_list[0] if seed is None else seed],
                purpose="search",
                validation=self._part.validation,
            )
            for one in self._templates
        ]

    def _costs(self, number: int, params: Mapping[str, Any], runs: Sequence[Sequence[WantedRun]]) -> list[float]:
        """What the student costs on each pair, on the whole schedule."""
        last = len(self.record.fractions) - 1
        whole = self._runs(number, params, last) if last else runs
        return [student_cost(chain[-1].setting, self._dataset) for chain in whole]

    # What comes out

    def _conclude(self, now: Stand, points: Sequence[Point]) -> None:
        """Ask for the final runs of the winner and of the papers' constants, and keep what the search came to."""
        if now.winner is None:
            metric = self.record.maximize
            what = f"none of its {len(points)} draws has a {metric}" if not now.finalists else "no finalist ended well"
            self.note = f"`{self.record.label}`: {what}: nothing to choose from"
            self._store.save_outcome(self._study.name, self.name, None)
            return
        won = points[now.winner]
        finals = self._finals({**self._searched.chosen, **won.params}, self._source(now, won))
        paper = self._paper_runs()
        asked = {run.run_id for run in self._expansion.wanted if run.purpose == "final"}
        asked |= {run.run_id for run in finals}
        self._extend(finals + [run for run in paper if run.run_id not in asked])
        outcome = {
            "winner": now.winner,
            "params": dict(won.params),
            "value": self._whole(won),
            "repeats": list((now.repeats or {}).get(now.winner, ())),
            "dropped": len(now.dropped),
            "finals": {run.pair: run.setting.key for run in finals if run.purpose == "final"},
            "paper": {run.pair: run.setting.key for run in paper if run.purpose == "final"},
        }
        self._store.save_outcome(self._study.name, self.name, outcome)
        self._chosen = now.winner

    def _whole(self, won: Point) -> float:
        return won.results[len(self.record.fractions) - 1, self.record.seeds[0]].value or 0.0

    def _source(self, now: Stand, won: Point) -> str:
        """Where a constant of the final runs comes from."""
        said = f"{self.record.maximize} {self._whole(won):.2f}"
        repeats = (now.repeats or {}).get(won.number)
        if repeats:
            said += f", repeated {sum(repeats) / len(repeats):.2f} over {len(repeats)} seeds"
        return f"search draw {won.number} of {self.record.draws} ({said})"

    def _finals(self, chosen: Mapping[str, Any], source: str) -> list[WantedRun]:
        """On all of train, for every pair and seed of the study, after their teachers."""
        runs: list[WantedRun] = []
        for one in self._searched.templates:
            here = {name: chosen[name] for name in (*one.axes, *one.ranges) if name in chosen}
            runs += student_runs(
                self._study,
                self._dataset,
                one,
                here,
                settled(self._study, one, here, source),
                self._expansion.teachers,
                seeds=self._study.spec.seed_list,
            )
        return teacher_runs(self._expansion.teachers, runs) + runs

    def _paper_runs(self) -> list[WantedRun]:
        """The same with the papers' constants on the search's pairs, so that a table shows what the search brought."""
        runs: list[WantedRun] = []
        for one in self._templates:
            bare = {name: value for name, value in self._searched.chosen.items() if name in one.axes}
            try:
                resolved = settled(self._study, one, bare)
            except StudyError:  # a constant without a default
                return []
            runs += [
                replace(run, label=f"{run.label}, {PAPERS}") if run.purpose == "final" else run
                for run in student_runs(
                    self._study,
                    self._dataset,
                    one,
                    bare,
                    resolved,
                    self._expansion.teachers,
                    seeds=self._study.spec.seed_list,
                )
            ]
        return teacher_runs(self._expansion.teachers, runs) + runs

    # What is searched

    def _record(self) -> SearchRecord:
        part, seeds = self._part, self._study.spec.seed_list
        more = part.finalists.seeds if part.finalists is not None else 0
        return SearchRecord(
            label=self._templates[0].label,
            axes=dict(self._searched.chosen),
            pairs=tuple(one.pair.label for one in self._templates),
            sampler=part.sampler,
            settings=SAMPLERS[part.sampler],
            generation=part.generation,
            draws=part.draws,
            maximize=part.maximize,
            validation=part.validation,
            validation_images=round(self._dataset.train_size * part.validation),
            ranges=dict(self._templates[0].ranges),
            paper=brought_inside(self._templates[0].ranges, self._defaults()),
            seeds=tuple(range(seeds[0], seeds[0] + 1 + more)),
            keep=part.finalists.keep if part.finalists is not None else 1,
            rungs=tuple(part.rungs or ("1",)),
            prefix=part.prefix,
        )

    def _defaults(self) -> dict[str, Any]:
        """What the constants would be without ranges: the papers'. Nothing where one has no default."""
        one = self._templates[0]
        bare = {name: value for name, value in self._searched.chosen.items() if name in one.axes}
        try:
            resolved = settled(self._study, one, bare)
        except StudyError:
            return {}
        return {name: value_of(resolved, name) for name in one.ranges}

    def _name(self) -> str:
        """The label, and the hash of all that decides the draws: space, sampler, what is maximised, the settings."""
        record = self.record
        first = {**{name: any_values(self._templates[0])[name] for name in record.ranges}, **record.paper}
        more: dict[str, Any] = {} if len(record.rungs) == 1 else {"rungs": record.rungs}
        if record.prefix is not None:
            more["prefix"] = [record.prefix, PRUNERS[record.prefix]]
        form: dict[str, Any] = {
            **more,
            "ranges": {name: value.model_dump(mode="json") for name, value in sorted(record.ranges.items())},
            "sampler": [record.sampler, record.settings, record.generation, record.maximize],
            "settings": [chain[-1].run_id for chain in self._runs(0, first)],
        }
        self._identity = hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()
        return f"{record.label}#{self._identity[:8]}"
