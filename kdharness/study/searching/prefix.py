"""Prefix pruning: runs of the whole schedule that a pruner of Optuna's gives up at a rung.

A draw is compared with those of earlier generations alone, by their values at the rungs: the decisions are a function
of numbers in the results database, whenever and wherever they are made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from kdharness.study.searching.course import Point
from kdharness.study.searching.record import SearchRecord
from kdharness.study.searching.sampling import load, quiet

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial

PRUNERS: dict[str, dict[str, Any]] = {
    "median": {"n_startup_trials": 5, "n_warmup_steps": 0, "interval_steps": 1, "n_min_trials": 1},
    "hyperband": {"reduction_factor": 3, "bootstrap_count": 0},
}
"""Every setting that Optuna's defaults could change under us; part of a search's identity."""

_WHOLE = 1000
"""Steps of the whole schedule."""


@dataclass(frozen=True)
class Judged:
    """What a pruner said of a draw."""

    rung: int | None
    """At which it gives it up."""
    seen: Mapping[int, float]
    """The values that it saw, by step."""


def judge(
    record: SearchRecord, brackets: str, points: Sequence[Point], values: Mapping[int, Sequence[float]]
) -> dict[int, Judged]:
    """By number; `values` are those at the rungs that a draw has reached, in order. `brackets`: what hyperband's
    choice of a draw's bracket comes from, with its number."""
    found: dict[int, Judged] = {}
    told: list[FrozenTrial] = []
    for first in range(0, len(points), record.generation):
        ended: list[FrozenTrial] = []
        for point in points[first : first + record.generation]:
            judged, notes = _judge(record, brackets, told, point.number, values.get(point.number, ()))
            found[point.number] = judged
            ended.append(_frozen(point, judged, notes, record))
        told += ended
    return found


def _judge(
    record: SearchRecord, brackets: str, told: Sequence["FrozenTrial"], number: int, values: Sequence[float]
) -> tuple[Judged, dict[str, Any]]:
    optuna = load()
    with quiet():
        study = optuna.create_study(study_name=brackets, direction="maximize", pruner=_pruner(record))
    study.add_trials(told)
    for _ in range(len(told), number):  # its number decides its bracket; who stands between is not compared
        study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    trial = study.ask()
    seen: dict[int, float] = {}
    rung = None
    for at, value in enumerate(values):
        step = steps(record)[at]
        seen[step] = value
        trial.report(value, step)
        if trial.should_prune():
            rung = at
            break
    return Judged(rung, seen), dict(study.trials[number].system_attrs)


def _frozen(point: Point, judged: Judged, notes: Mapping[str, Any], record: SearchRecord) -> "FrozenTrial":
    optuna = load()
    states = optuna.trial.TrialState
    result = point.results.get((0, record.seeds[0]))
    value = result.value if result is not None and judged.rung is None else None
    state = states.PRUNED if judged.rung is not None else states.COMPLETE if value is not None else states.FAIL
    frozen: FrozenTrial = optuna.trial.create_trial(
        state=state, value=value, intermediate_values=dict(judged.seen), system_attrs=dict(notes)
    )
    return frozen


def steps(record: SearchRecord) -> list[int]:
    """Of the rungs before the whole schedule, in thousandths of it."""
    return [int(Fraction(text) * _WHOLE) for text in record.rungs[:-1]]


def _pruner(record: SearchRecord) -> "BasePruner":
    kind, pruners = record.prefix or "median", load().pruners
    if kind == "median":
        median: BasePruner = pruners.MedianPruner(**PRUNERS[kind])
        return median
    hyperband: BasePruner = pruners.HyperbandPruner(min_resource=steps(record)[0], max_resource=_WHOLE, **PRUNERS[kind])
    return hyperband
