"""What Optuna proposes: draws are asked for in generations and told in number order, from a sampler seeded by number.

Within a generation nothing is told, so that a draw depends on its stream, its number and the results of earlier
generations alone: the same values come out after a stop, in another process and with any number of slots. Optuna's
study is made anew, in memory, whenever a generation is asked for; the draws in the results database are the truth.
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from kdharness.core.errors import EnvironmentRefused
from kdharness.study.searching.course import Point
from kdharness.study.searching.record import Sampler, SearchRecord
from kdharness.study.spec import FloatRange, IntRange, Range

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study as OptunaStudy
    from optuna.trial import FrozenTrial, Trial

SAMPLERS: dict[Sampler, dict[str, Any]] = {
    "tpe": {"n_startup_trials": 10, "n_ei_candidates": 24, "multivariate": True, "constant_liar": True},
    "random": {},
    "gp": {"n_startup_trials": 10, "deterministic_objective": False},
    "cmaes": {"n_startup_trials": 1, "popsize": None, "use_separable_cma": False, "lr_adapt": False},
    # Optuna's population of 50 would make most searches random ones
    "nsga2": {"population_size": 16, "mutation_prob": None, "crossover_prob": 0.9, "swapping_prob": 0.5},
}
"""Every sampler setting that Optuna's defaults could change under us; part of a search's identity."""

_REPLAYED = ("cmaes", "nsga2")
"""Samplers that leave notes on the trials they make: for them earlier generations are asked for again."""


class Proposals:
    """The draws of one search. `stream`: what its random numbers come from, with a draw's number."""

    def __init__(self, record: SearchRecord, stream: str) -> None:
        self._record = record
        self._stream = stream
        self._distributions = distributions(record.ranges)

    def generation(self, points: Sequence[Point], results: Sequence[Point]) -> list[tuple[int, dict[str, Any]]]:
        """The generation after those of `results`, all of its numbers; `points` of it were kept before a stop."""
        study, first = self._study(results), len(results)
        last = min(first + self._record.generation, self._record.draws)
        return [(number, self._ask(study, number, points).params) for number in range(first, last)]

    def _ask(self, study: "OptunaStudy", number: int, points: Sequence[Point]) -> Any:
        """The trial with the values that were kept, else with new ones; the first is the papers' constants."""
        study.sampler = make_sampler(self._record.sampler, self._stream, number)
        if number < len(points):
            study.enqueue_trial(dict(points[number].params))
        elif number == 0:
            study.enqueue_trial(dict(self._record.paper))
        with quiet():
            if self._record.sampler not in _REPLAYED:
                return study.ask(self._distributions)
            trial = study.ask()
            _ = trial.relative_params  # read for the sampler's notes, which it makes for given values only when asked
            for name, one in sorted(self._record.ranges.items()):
                _suggest(trial, name, one)
            return trial

    def _study(self, results: Sequence[Point]) -> "OptunaStudy":
        """Optuna's study of the ended generations."""
        study = new_study(self._record)
        study.sampler = make_sampler(self._record.sampler, self._stream, 0)
        if self._record.sampler not in _REPLAYED:
            for point in results:
                study.add_trial(told(self._record, point, self._distributions))
            return study
        for first in range(0, len(results), self._record.generation):
            points = results[first : first + self._record.generation]
            asked = [self._ask(study, point.number, results) for point in points]
            for trial, point in zip(asked, points, strict=True):
                frozen = told(self._record, point, self._distributions)
                study.tell(trial, frozen.values, state=frozen.state)
        return study


def _suggest(trial: "Trial", name: str, one: Range) -> None:
    if isinstance(one, FloatRange):
        trial.suggest_float(name, one.bounds[0], one.bounds[1], log=one.log)
    elif isinstance(one, IntRange):
        trial.suggest_int(name, one.bounds[0], one.bounds[1], log=one.log)
    else:
        trial.suggest_categorical(name, cast(list[str | float | bool | None], one.choice))


def told(record: SearchRecord, point: Point, known: Mapping[str, "BaseDistribution"]) -> "FrozenTrial":
    """An ended point as Optuna's trial: complete with its first value, pruned, or failed."""
    optuna = load()
    value = point.results[0, record.seeds[0]].value
    states = optuna.trial.TrialState
    state = states.COMPLETE if value is not None else states.FAIL if point.pruned_epoch is None else states.PRUNED
    values = None if value is None else [value]
    if values is not None and record.sampler == "nsga2":
        values.append(point.cost or 0.0)
    return cast(
        "FrozenTrial",
        optuna.trial.create_trial(
            state=state,
            params=dict(point.params),
            distributions=dict(known),
            values=values,
            intermediate_values=dict(point.seen),
            user_attrs={"run_ids": list(point.run_ids)},
        ),
    )


def new_study(record: SearchRecord) -> "OptunaStudy":
    """An empty study in memory: the metric is maximised, with `nsga2` the student's cost minimised besides."""
    directions = ["maximize", "minimize"] if record.sampler == "nsga2" else ["maximize"]
    study: OptunaStudy = load().create_study(directions=directions)
    return study


def distributions(ranges: Mapping[str, Range]) -> dict[str, "BaseDistribution"]:
    """The ranges in Optuna's words, by name."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    made: dict[str, BaseDistribution] = {}
    for name, value in sorted(ranges.items()):
        if isinstance(value, FloatRange):
            made[name] = FloatDistribution(value.bounds[0], value.bounds[1], log=value.log)
        elif isinstance(value, IntRange):
            made[name] = IntDistribution(value.bounds[0], value.bounds[1], log=value.log)
        else:
            made[name] = CategoricalDistribution(cast(list[str | float | bool | None], value.choice))
    return made


def make_sampler(name: Sampler, stream: str, number: int) -> "BaseSampler":
    """The sampler of one draw: its randomness depends on the stream and the draw's number alone."""
    samplers = load().samplers
    kinds: dict[Sampler, Any] = {
        "tpe": samplers.TPESampler,
        "random": samplers.RandomSampler,
        "gp": samplers.GPSampler,
        "cmaes": samplers.CmaEsSampler,
        "nsga2": samplers.NSGAIISampler,
    }
    seed = int.from_bytes(hashlib.sha256(f"{stream} {number}".encode()).digest()[:4], "big")
    with quiet():
        sampler: BaseSampler = kinds[name](seed=seed, **SAMPLERS[name])
    return sampler


def quiet() -> warnings.catch_warnings:
    """Optuna's warnings that parts of it are experimental: they are used on purpose, with every setting written out."""
    caught = warnings.catch_warnings(record=False, action="ignore", category=load().exceptions.ExperimentalWarning)
    return cast(warnings.catch_warnings, caught)


def load() -> Any:
    """The module, quiet. Raises EnvironmentRefused where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise _missing("Optuna") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def require(sampler: Sampler) -> None:
    """Raises EnvironmentRefused where Optuna, or what it needs for the sampler, is not installed."""
    load()
    needs = {"cmaes": ("cmaes",), "gp": ("scipy", "torch")}.get(sampler, ())
    from importlib.util import find_spec

    for name in needs:
        if find_spec(name) is None:
            raise _missing(f"The sampler `{sampler}` of Optuna's", name)


def _missing(who: str, what: str | None = None) -> EnvironmentRefused:
    said = (
        f"`search` needs {who}, which is not installed" if what is None else f"{who} needs {what}, not installed here"
    )
    return EnvironmentRefused(said, remedy='pip install "kdharness[search]"')
