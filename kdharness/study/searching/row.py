"""The search of one row at one point of its axes: its trainings asked of the store, and what they come to."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from kdharness.core.records import WantedRun
from kdharness.results.records import StudyChange
from kdharness.results.search_records import DrawRun, SearchRow
from kdharness.study.cost import student_cost
from kdharness.study.expand import Expansion, SearchedRow
from kdharness.study.searching.asked import Identity, identities, record_of
from kdharness.study.searching.course import Point, Stand, Training, stand
from kdharness.study.searching.finals import final_runs, outcome_of, paper_runs
from kdharness.study.searching.points import DrawStore, read_points
from kdharness.study.searching.sampling import Proposals
from kdharness.study.searching.schedule import shortened
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

    def wake(self, study: str, run_ids: Sequence[str]) -> int: ...

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
        self.record = record_of(expansion, self._templates, searched.chosen)
        self._asked: set[Training] = set()
        self._chosen: int | None = None
        self._watch: Watch | None = None
        self._woken = 0
        self.is_done = False
        self.note = ""

    def open(self) -> None:
        """Find the name under which its draws are kept; the study has to be in the store.

        A search that began before all rows had one stream goes on with the stream that it began with.
        """
        now, before = identities(self.record, self._templates[0], self._runs)
        place = next(iter(self.record.places.values()))
        self._identity: Identity = before if self._store.draws(self._study.name, before.name + place) else now
        self.name = self._identity.name
        if self.record.prefix is not None:
            self._watch = Watch(self.record, self._study.name, self._identity, self._store, self._epochs)

    def advance(self) -> int:
        """Ask for all that can be known now: trainings of the draws so far, the next generation, or the choice.

        How many pruned runs wait again because it wants them whole.
        """
        self._woken = 0
        while True:
            points, still = read_points(self._store, self._study.name, self.name, self.record)
            judged = points if self._watch is None else self._watch.judged(points)
            now = stand(self.record, judged)
            fresh = [one for one in now.needed if one not in self._asked]
            if fresh:
                self._train(fresh, points)
            elif now.wants_draws:
                self._draw(judged)
            else:
                break
        if self._watch is not None:
            self._watch.give_up(points, judged)
        self._wake(
            run_id
            for number, rung, seed in now.needed
            for run_id in still.get((number, rung, seed), ())
            if rung or seed != self.record.seeds[0] or judged[number].pruned_epoch is None
        )
        self.is_done = now.is_done
        if now.is_done and (now.winner is None or now.winner != self._chosen):
            self._conclude(now, judged)
        return self._woken

    def _wake(self, run_ids: Iterable[str]) -> None:
        """What some draw gave up at a rung goes on from its last checkpoint where another wants it whole."""
        wanted = list(dict.fromkeys(run_ids))
        self._woken += self._store.wake(self._study.name, wanted) if wanted else 0

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
        self._ask(wanted)
        if kept:
            self._store.save_draw_runs(self._study.name, kept)
        self._asked.update(trainings)

    def _draw(self, points: Sequence[Point]) -> None:
        """Draw the next generation and keep it; what of it was kept before a stop comes out the same."""
        first = len(points) - len(points) % self.record.generation
        asked = Proposals(self.record, self._identity.stream).generation(points, points[:first])
        runs = {number: self._runs(number, params) for number, params in asked}
        wanted = [run for chains in runs.values() for chain in chains for run in chain]
        self._ask(wanted)
        generation = first // self.record.generation
        for number, params in asked:
            for place, chain, cost in zip(
                self.record.places.values(), runs[number], self._costs(number, params, runs[number]), strict=True
            ):
                self._store.save_draw(
                    self._study.name, self.name + place, number, generation, params, chain[-1].run_id, cost
                )
            self._asked.add((number, 0, self.record.seeds[0]))

    def _ask(self, wanted: Sequence[WantedRun]) -> None:
        self._extend(teacher_runs(self._teachers, wanted) + list(wanted))
        self._wake(need.run_id for run in wanted for need in run.needs)

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
        finals = final_runs(self._expansion, self._searched.templates, self.record, now, won, self._searched.chosen)
        paper = paper_runs(self._expansion, self._templates, self._searched.chosen)
        asked = {run.run_id for run in self._expansion.wanted if run.purpose == "final"}
        asked |= {run.run_id for run in finals}
        self._extend(finals + [run for run in paper if run.run_id not in asked])
        self._store.save_outcome(self._study.name, self.name, outcome_of(self.record, now, won, finals, paper))
        self._chosen = now.winner
