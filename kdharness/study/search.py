"""Searches for the constants of rows with ranges: the only room that knows Optuna.

Draws are asked for in generations and told in number order, with a sampler reseeded for each number, so that the same
values come out after a stop, in another process and with any number of slots. The store's draws are the truth; Optuna's
study is made anew from them in memory whenever a generation is asked for.

A draw's runs train on train minus the validation images, as do the teachers that are trained for them. When all draws
of a search have ended, the constants of the best one (mean of the metric over the search's pairs) are trained as final
runs, on all of train, for every pair and seed of the study.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from kdharness.core.errors import EnvironmentRefused, StudyError
from kdharness.core.records import WantedRun
from kdharness.results.records import Draw, StudyChange
from kdharness.study.expand import Expansion, SearchedRow
from kdharness.study.resolve import Template, any_values, known_pair, value_of
from kdharness.study.spec import Choice, FloatRange, IntRange, SearchPart
from kdharness.study.students import settled, student_runs
from kdharness.study.teachers import teacher_runs, trained

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study as OptunaStudy

ENDED = frozenset({"complete", "failed", "diverged", "cancelled", "pruned"})

SAMPLERS: dict[str, dict[str, Any]] = {
    "tpe": {"n_startup_trials": 10, "n_ei_candidates": 24, "multivariate": True, "constant_liar": True},
    "random": {},
}
"""Every sampler setting that Optuna's defaults could change under us; part of a search's identity."""


class DrawStore(Protocol):
    """What a search needs of the results."""

    def draws(self, study: str, label: str) -> list[Draw]: ...

    def save_draw(
        self, study: str, label: str, number: int, generation: int, params: Mapping[str, Any], run_id: str
    ) -> None: ...

    def extend_study(self, name: str, wanted: Sequence[WantedRun]) -> StudyChange: ...


class Search:
    """All searches of a study. `advance` is called at the beginning and whenever runs have ended."""

    def __init__(self, expansion: Expansion, store: DrawStore) -> None:
        """Raises EnvironmentRefused where Optuna is not installed and the study has a search."""
        self._expansion = expansion
        self._store = store
        self._asked: set[tuple[str, str, str]] = set()
        if expansion.searched:
            _optuna()
        self._rows = [RowSearch(expansion, row, store, self._extend) for row in expansion.searched]

    @property
    def is_done(self) -> bool:
        """After an `advance`: whether every search has chosen, or found nothing to choose from."""
        return all(row.is_done for row in self._rows)

    @property
    def notes(self) -> list[str]:
        """Searches that ended without a draw to choose."""
        return [row.note for row in self._rows if row.note]

    def advance(self) -> int:
        """Ask the store for the runs that can be chosen now; how many this object had not asked for before.

        Asking again for runs that stand there changes nothing, so a search may be opened by several processes.
        """
        before = len(self._asked)
        for row in self._rows:
            row.advance()
        return len(self._asked) - before

    def _extend(self, wanted: Sequence[WantedRun]) -> None:
        fresh = {(run.run_id, run.label, run.pair): run for run in wanted}
        fresh = {key: run for key, run in fresh.items() if key not in self._asked}
        if fresh:
            self._store.extend_study(self._expansion.study.name, list(fresh.values()))
            self._asked.update(fresh)


class RowSearch:
    """The search of one row at one point of its axes."""

    def __init__(
        self,
        expansion: Expansion,
        searched: SearchedRow,
        store: DrawStore,
        extend: Callable[[Sequence[WantedRun]], None],
    ) -> None:
        self._extend = extend
        part = expansion.study.spec.search
        assert part is not None  # a range without a search is no study
        self._study, self._dataset, self._store, self._part = expansion.study, expansion.dataset, store, part
        self._searched = searched
        self._final_teachers = expansion.teachers
        pairs = [known_pair(text, self._study.spec.dataset_name) for text in part.pairs]
        self._templates = [one for one in searched.templates if one.pair in pairs]
        self._ranges = self._templates[0].ranges
        self._teachers = {
            model: trained(self._study.spec, self._dataset, model, part.validation)
            for one in self._templates
            for model in one.pair.teachers
        }
        self._identity = self._fingerprint()
        self._known: set[int] = set()
        """Draws whose runs were asked for by this object."""
        self.is_done = False
        self.note = ""

    @property
    def name(self) -> str:
        """Under which its draws are kept: the label, and what it searches in, by which an edited search starts anew."""
        return f"{self._templates[0].label}#{self._identity[:8]}"

    def advance(self) -> None:
        """Ask for the runs of all draws so far, of the next generation, or of the choice: what can be known now."""
        draws = self._draws()
        earlier = [draw for draw in draws if draw.number not in self._known]
        self._extend(self._with_teachers([self._draw_runs(draw.number, draw.params) for draw in earlier]))
        self._known.update(draw.number for draw in earlier)
        while len(draws) < self._part.draws and not any(self._value(draw) is _OPEN for draw in draws):
            self._ask(draws)
            draws = self._draws()
        if len(draws) == self._part.draws and not any(self._value(draw) is _OPEN for draw in draws):
            self._extend(self._chosen(draws))
            self.is_done = True

    def _with_teachers(self, draws: Sequence[list[list[WantedRun]]]) -> list[WantedRun]:
        """The draws' runs after the search's own teachers, which have not seen the validation images."""
        runs = [run for pairs in draws for chain in pairs for run in chain]
        return teacher_runs(self._teachers, runs) + runs

    def _chosen(self, draws: list["_Point"]) -> list[WantedRun]:
        """The final runs of the best draw, the earliest of equal ones."""
        scored = [(value, -draw.number, draw) for draw in draws if isinstance(value := self._value(draw), float)]
        label = self._templates[0].label
        if not scored:
            self.note = f"`{label}`: none of its {len(draws)} draws has a {self._part.maximize}: nothing to choose from"
            return []
        value, _, best = max(scored, key=lambda item: item[:2])
        source = f"search draw {best.number} of {len(draws)} ({self._part.maximize} {value:.2f})"
        chosen = {**self._searched.chosen, **best.params}
        runs: list[WantedRun] = []
        for one in self._searched.templates:
            here = {name: chosen[name] for name in (*one.axes, *one.ranges) if name in chosen}
            resolved = settled(self._study, one, here, source)
            runs += student_runs(
                self._study, self._dataset, one, here, resolved, self._final_teachers, seeds=self._study.spec.seed_list
            )
        return teacher_runs(self._final_teachers, runs) + runs

    # Draws

    def _draws(self) -> list["_Point"]:
        """The stored draws that all search pairs have, in number order."""
        points: dict[int, _Point] = {}
        for one in self._templates:
            for draw in self._store.draws(self._study.name, self._place(one)):
                point = points.setdefault(draw.number, _Point(draw.number, draw.generation, dict(draw.params)))
                point.runs[one.pair.label] = draw
        whole = [points[number] for number in sorted(points) if len(points[number].runs) == len(self._templates)]
        return [point for number, point in enumerate(whole) if point.number == number]

    def _place(self, one: Template) -> str:
        return self.name if len(self._templates) == 1 else f"{self.name} {one.pair.label}"

    def _value(self, draw: "_Point") -> float | str:
        """The mean over the pairs; `_OPEN` while one is not ended, `_WITHOUT` where one ended without the metric."""
        if any(run.state not in ENDED for run in draw.runs.values()):
            return _OPEN
        values = [run.metrics.get(self._part.maximize) for run in draw.runs.values() if run.state == "complete"]
        numbers = [value for value in values if value is not None and value == value]
        return sum(numbers) / len(numbers) if len(numbers) == len(draw.runs) else _WITHOUT

    def _ask(self, draws: list["_Point"]) -> None:
        """Draw the next generation and keep it; what of it was kept before a stop comes out the same."""
        first = len(draws) - len(draws) % self._part.generation
        last = min(first + self._part.generation, self._part.draws)
        study = self._told(draws[:first])
        asked: list[tuple[int, dict[str, Any]]] = []
        for number in range(first, last):
            study.sampler = make_sampler(self._part, self._identity, number)
            if number < len(draws):
                study.enqueue_trial(draws[number].params)
            elif number == 0:
                study.enqueue_trial(self._defaults())
            asked.append((number, dict(study.ask(self._distributions()).params)))
        runs = {number: self._draw_runs(number, params) for number, params in asked}
        # first the runs, then the draws that name them; after a stop in between the same ones are asked for again
        self._extend(self._with_teachers(list(runs.values())))
        generation = first // self._part.generation
        for number, params in asked:
            for one, chain in zip(self._templates, runs[number], strict=True):
                self._store.save_draw(self._study.name, self._place(one), number, generation, params, chain[-1].run_id)

    def _told(self, draws: list["_Point"]) -> "OptunaStudy":
        """Optuna's study of the ended draws."""
        optuna = _optuna()
        study: OptunaStudy = optuna.create_study(
            direction="maximize", sampler=make_sampler(self._part, self._identity, 0)
        )
        distributions = self._distributions()
        for draw in draws:
            value = self._value(draw)
            told = isinstance(value, float)
            study.add_trial(
                optuna.trial.create_trial(
                    state=optuna.trial.TrialState.COMPLETE if told else optuna.trial.TrialState.FAIL,
                    params=draw.params,
                    distributions=distributions,
                    value=value if told else None,
                    user_attrs={"run_ids": [run.run_id for run in draw.runs.values()]},
                )
            )
        return study

    def _draw_runs(self, number: int, params: Mapping[str, Any]) -> list[list[WantedRun]]:
        """For each search pair the draw's run, with the study's first seed, after those of its assistants."""
        chosen = {**self._searched.chosen, **params}
        return [
            student_runs(
                self._study,
                self._dataset,
                one,
                here := {name: chosen[name] for name in one.names if name in chosen},
                settled(self._study, one, here, f"search draw {number}"),
                self._teachers,
                seeds=self._study.spec.seed_list[:1],
                purpose="search",
                validation=self._part.validation,
            )
            for one in self._templates
        ]

    # The space

    def _distributions(self) -> dict[str, "BaseDistribution"]:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        made: dict[str, BaseDistribution] = {}
        for name, value in sorted(self._ranges.items()):
            if isinstance(value, FloatRange):
                made[name] = FloatDistribution(value.bounds[0], value.bounds[1], log=value.log)
            elif isinstance(value, IntRange):
                made[name] = IntDistribution(value.bounds[0], value.bounds[1], log=value.log)
            else:
                made[name] = CategoricalDistribution(cast(list[str | float | bool | None], value.choice))
        return made

    def _defaults(self) -> dict[str, Any]:
        """What the constants would be without ranges, brought into them: the first draw."""
        one = self._templates[0]
        bare = {name: value for name, value in self._searched.chosen.items() if name in one.axes}
        try:
            resolved = settled(self._study, one, bare)
        except StudyError:  # a constant without a default: its range is all that is known of it
            return {}
        found: dict[str, Any] = {}
        for name, value in self._ranges.items():
            default = value_of(resolved, name)
            if isinstance(value, Choice):
                if default in value.choice:
                    found[name] = default
            else:
                inside = min(max(default, value.bounds[0]), value.bounds[1])
                found[name] = round(inside) if isinstance(value, IntRange) else inside
        return found

    def _fingerprint(self) -> str:
        """Hash of all that decides the draws: space, sampler, what is maximised, and the settings they vary."""
        part = self._part
        first = self._defaults()
        form = {
            "ranges": {name: value.model_dump(mode="json") for name, value in sorted(self._ranges.items())},
            "sampler": [part.sampler, SAMPLERS[part.sampler], part.generation, part.maximize],
            "settings": [chain[-1].run_id for chain in self._draw_runs(0, self._inside(first))],
        }
        return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()

    def _inside(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults, with the first value of a range that has none."""
        return {**{name: any_values(self._templates[0])[name] for name in self._ranges}, **params}


class _Point:
    """One draw and its run for each search pair."""

    def __init__(self, number: int, generation: int, params: dict[str, Any]) -> None:
        self.number = number
        self.generation = generation
        self.params = params
        self.runs: dict[str, Draw] = {}


_OPEN = "open"
_WITHOUT = "without"


def make_sampler(part: SearchPart, identity: str, number: int) -> "BaseSampler":
    """The sampler of one draw: its randomness depends on the search and the draw's number alone."""
    optuna = _optuna()
    seed = int.from_bytes(hashlib.sha256(f"{identity} {number}".encode()).digest()[:4], "big")
    if part.sampler == "random":
        sampler: BaseSampler = optuna.samplers.RandomSampler(seed=seed)
        return sampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # both are named above on purpose
        sampler = optuna.samplers.TPESampler(seed=seed, **SAMPLERS["tpe"])
    return sampler


def _optuna() -> Any:
    """The module, quiet. Raises EnvironmentRefused where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise EnvironmentRefused(
            "`search` needs Optuna, which is not installed", remedy='pip install "kdharness[search]"'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
