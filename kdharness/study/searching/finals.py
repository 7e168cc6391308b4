"""What a search comes to: final runs of its winner and of the papers' constants, and what is kept of the choice."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kdharness.core.errors import StudyError
from kdharness.core.records import WantedRun
from kdharness.reporting.budgets import unsearched_label
from kdharness.study.expand import Expansion
from kdharness.study.resolve import Template
from kdharness.study.searching.course import Point, Stand
from kdharness.study.searching.record import SearchRecord
from kdharness.study.students import settled, student_runs
from kdharness.study.teachers import teacher_runs


def final_runs(
    expansion: Expansion,
    templates: Sequence[Template],
    record: SearchRecord,
    now: Stand,
    won: Point,
    axes: Mapping[str, Any],
) -> list[WantedRun]:
    """On all of train, for every pair and seed of the study, after their teachers."""
    chosen, source = {**axes, **won.params}, _source(record, now, won)
    runs: list[WantedRun] = []
    for one in templates:
        here = {name: chosen[name] for name in (*one.axes, *one.ranges) if name in chosen}
        runs += _runs(expansion, one, here, source)
    return teacher_runs(expansion.teachers, runs) + runs


def paper_runs(expansion: Expansion, templates: Sequence[Template], axes: Mapping[str, Any]) -> list[WantedRun]:
    """The same with the papers' constants on the search's pairs, so that a table shows what the search brought.

    None where a constant has no default.
    """
    runs: list[WantedRun] = []
    for one in templates:
        try:
            runs += _runs(expansion, one, {name: value for name, value in axes.items() if name in one.axes})
        except StudyError:
            return []
    named = [
        replace(run, label=unsearched_label(run.label, run.setting.distiller)) if run.purpose == "final" else run
        for run in runs
    ]
    return teacher_runs(expansion.teachers, named) + named


def outcome_of(
    record: SearchRecord, now: Stand, won: Point, finals: Sequence[WantedRun], paper: Sequence[WantedRun]
) -> dict[str, Any]:
    """What a report says of the search."""
    return {
        "winner": won.number,
        "params": dict(won.params),
        "value": _whole(record, won),
        "repeats": list((now.repeats or {}).get(won.number, ())),
        "dropped": [[one.number, one.n] for one in now.dropped],
        "finals": {run.pair: run.setting.key for run in finals if run.purpose == "final"},
        "paper": {run.pair: run.setting.key for run in paper if run.purpose == "final"},
    }


def _runs(expansion: Expansion, one: Template, chosen: Mapping[str, Any], source: str = "") -> list[WantedRun]:
    resolved = settled(expansion.study, one, chosen, source)
    seeds = expansion.study.spec.seed_list
    return student_runs(expansion.study, expansion.dataset, one, chosen, resolved, expansion.teachers, seeds=seeds)


def _source(record: SearchRecord, now: Stand, won: Point) -> str:
    """Where a constant of the final runs comes from."""
    said = f"{record.maximize} {_whole(record, won):.2f}"
    repeats = (now.repeats or {}).get(won.number)
    if repeats:
        said += f", repeated {sum(repeats) / len(repeats):.2f} over {len(repeats)} seeds"
    return f"search draw {won.number} of {record.draws} ({said})"


def _whole(record: SearchRecord, won: Point) -> float:
    return won.results[len(record.fractions) - 1, record.seeds[0]].value or 0.0
