"""From a study to its runs: every row, pair, axis value and seed. The size is known before anything is made."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kdharness.core.errors import BadInput, Problem, StudyError
from kdharness.core.home import Home
from kdharness.core.records import Setting, WantedRun
from kdharness.results.records import ImportedTeacher
from kdharness.results.store import Store
from kdharness.study.check import find_problems, study_pairs
from kdharness.study.compatibility import Compatibility
from kdharness.study.document import Path as Place
from kdharness.study.images import dataset_of, missing_images
from kdharness.study.load import Study
from kdharness.study.resolve import (
    RECIPE,
    Pair,
    Resolved,
    Template,
    any_values,
    distiller_of,
    known_pair,
    make_setting,
    settle,
    template,
)
from kdharness.study.rows import rows
from kdharness.study.teachers import TeacherSource, final_teachers, teacher_run, way_of

if TYPE_CHECKING:
    from kdharness.core.types import Dataset

MAX_RUNS = 10_000


@dataclass(frozen=True)
class SearchedRow:
    """A row with ranges at one point of its axes: one search, then final runs with what it chose."""

    templates: tuple[Template, ...]
    """One for each pair of the study."""
    chosen: Mapping[str, Any]
    """The values of its axes."""


@dataclass(frozen=True)
class Expansion:
    """Everything that a study asks for before its searches have drawn."""

    study: Study
    dataset: "Dataset"
    pairs: tuple[Pair, ...]
    wanted: list[WantedRun]
    """Teachers first, then the final runs; rows with ranges get theirs from the search."""
    searched: tuple[SearchedRow, ...]
    count: int
    """Runs including those that searches will ask for; at most, as equal settings are trained once."""
    search_count: int
    """Of these, runs of searches: draws, their teachers, and the final runs of what they choose."""
    warnings: list[str]
    teachers: Mapping[str, TeacherSource]
    """Of the final runs, by model."""
    missing: list[str]
    """What is not here: images, imported teachers. Settings that name it can be counted, not trained."""

    @property
    def summary(self) -> str:
        """One line for `check`."""
        settings = len({run.setting.key for run in self.wanted if run.purpose != "teacher"})
        runs = len({run.run_id for run in self.wanted})
        more = f", and up to {self.search_count:,} runs by search" if self.searched else ""
        words = "setting" if settings == 1 else "settings"
        return f"{self.study.name}: {settings:,} {words}, {runs:,} runs with their teachers{more}"


def expand(
    study: Study, *, data: Path, imports: Sequence[ImportedTeacher] = (), confirmed: int | None = None
) -> Expansion:
    """Every run of the study, with the imported teachers there are. Opens no images.

    Raises StudyError with all problems; BadInput above 10,000 runs unless `confirmed` allows that many.
    """
    problems = find_problems(study, data=data, imports=imports)
    if problems:
        raise StudyError(study.path, problems)
    spec = study.spec
    dataset = dataset_of(spec, data)
    pairs = study_pairs(spec)
    templates = [[template(spec, row, pair, dataset, _line_of(study)) for pair in pairs] for row in rows(spec)]
    plain, search_count = _count(study, templates, pairs)
    count = plain + search_count
    if count > max(MAX_RUNS, confirmed or 0):
        raise BadInput(
            f"the study asks for {count:,} runs, more than {MAX_RUNS:,}",
            where=study.path,
            remedy=f"shorten its `each` lists, pairs or seeds, or confirm with --yes-runs {count}",
        )
    warnings: list[str] = []
    teachers = final_teachers(spec, dataset, pairs, imports)
    finals: list[WantedRun] = []
    searched: list[SearchedRow] = []
    compatibility = Compatibility(study, dataset)
    for row in templates:
        if any(one.ranges for one in row):
            searched += _searched(row)
            for one in row:
                compatibility.check(one, settled(study, one, any_values(one)))
            continue
        for one in row:
            for chosen in _points(one):
                resolved = settled(study, one, chosen)
                compatibility.check(one, resolved)
                finals += final_runs(study, dataset, one, chosen, resolved, teachers)
    if compatibility.problems:
        raise StudyError(study.path, compatibility.problems)
    finals = _without_twins(finals, warnings)
    if any(_needs_weights(study, row[0]) for row in templates):
        wanted = [teacher_run(source) for source in teachers.values() if source.trained is not None] + finals
    else:  # nobody learns from them: a table's head then names them without an accuracy
        wanted = [replace(run, teacher_id=None) for run in finals]
    missing = [what for what in (missing_images(dataset), *(one.missing for one in teachers.values())) if what]
    return Expansion(
        study, dataset, tuple(pairs), wanted, tuple(searched), count, search_count, warnings, teachers, missing
    )


def expand_at(study: Study, home: Home, data: Path | None = None, confirmed: int | None = None) -> Expansion:
    """As `expand`, with what the home has: its data directory where none is named, and its imported teachers."""
    imports = Store(home).imported_teachers() if home.results.exists() else []
    return expand(study, data=data or home.data, imports=imports, confirmed=confirmed)


def settled(study: Study, one: Template, chosen: Mapping[str, Any], source: str = "") -> Resolved:
    """As `resolve.settle`; values that do not go together are a StudyError at the row."""
    try:
        return settle(one, chosen, source)
    except (ValidationError, BadInput) as error:
        line, column = study.document.at(one.row.place)
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        at = ", ".join(f"{name} = {value!r}" for name, value in chosen.items())
        raise StudyError(
            study.path, [Problem(line, column, " ".join(f"{one.label} at {at}: {said}".split()))]
        ) from error


def final_runs(
    study: Study,
    dataset: "Dataset",
    one: Template,
    chosen: Mapping[str, Any],
    resolved: Resolved,
    teachers: Mapping[str, TeacherSource],
) -> list[WantedRun]:
    """One run for each seed of the study, on all of train."""
    setting = make_setting(dataset, one, resolved, teachers)
    return [
        wanted_run(setting, seed, one, resolved, chosen, teachers[one.pair.teacher], "final")
        for seed in study.spec.seed_list
    ]


def wanted_run(
    setting: Setting,
    seed: int,
    one: Template,
    resolved: Resolved,
    chosen: Mapping[str, Any],
    teacher: TeacherSource,
    purpose: Any,
) -> WantedRun:
    """The run as the study's tables will show it."""
    entry = one.row.entry
    return WantedRun(
        setting=setting,
        seed=seed,
        purpose=purpose,
        label=one.label,
        pair=one.pair.label,
        student=one.pair.student,
        teacher=one.pair.teacher,
        teacher_id=teacher.id,
        row=one.row.number,
        group=one.row.group,
        axes={name: _axis_value(resolved, name) for name in one.axes if name in chosen},
        against=entry.against,
        ours=entry.ours,
        provenance=resolved.provenance,
    )


def _needs_weights(study: Study, one: Template) -> bool:
    resolved = settled(study, one, any_values(one))
    return distiller_of(one.row)(resolved.config).needs.teacher == "weights"


def _axis_value(resolved: Resolved, name: str) -> str | int | float | bool:
    """The value as its field types it: 4 on a real field is 4.0, a list is text."""
    holder = resolved.recipe if name.startswith(RECIPE) else resolved.config
    value = getattr(holder, name.removeprefix(RECIPE))
    return value if isinstance(value, str | int | float | bool) else " ".join(map(str, value or ["null"]))


def _points(one: Template) -> Iterator[dict[str, Any]]:
    """Every combination of the values of the axes."""
    for values in product(*one.axes.values()):
        yield dict(zip(one.axes, values, strict=True))


def _searched(row: list[Template]) -> Iterator[SearchedRow]:
    """The searches of a row with ranges: one for each point of its axes."""
    for chosen in _points(row[0]):
        yield SearchedRow(tuple(row), chosen)


def _count(study: Study, templates: list[list[Template]], pairs: list[Pair]) -> tuple[int, int]:
    """Runs at most, without and by searches, by arithmetic alone."""
    seeds, search = len(study.spec.seed_list), study.spec.search
    plain, searched = len({pair.teacher for pair in pairs if way_of(study.spec, pair.teacher) == "train"}), 0
    for row in templates:
        points = [prod(len(values) for values in one.axes.values()) for one in row]
        if search is not None and any(one.ranges for one in row):
            searched += points[0] * search.draws * len(search.pairs) + sum(points) * seeds
        else:
            plain += sum(points) * seeds
    if search is not None and searched:
        searched += len(
            {pair.teacher for text in search.pairs if (pair := known_pair(text, study.spec.dataset_name)) is not None}
        )
    return plain, searched


def _without_twins(runs: list[WantedRun], warnings: list[str]) -> list[WantedRun]:
    """Without values of an axis that mean the same; rows that share a setting are told."""
    kept: dict[tuple[str, int, str, str], WantedRun] = {}
    labels: dict[tuple[str, str], list[str]] = {}
    merged: dict[tuple[str, str], int] = {}
    for run in runs:
        key = (run.setting.key, run.seed, run.label, run.pair)
        if key in kept:
            merged[run.label, run.pair] = merged.get((run.label, run.pair), 0) + 1
            continue
        kept[key] = run
        shared = labels.setdefault((run.setting.key, run.pair), [])
        if run.label not in shared:
            shared.append(run.label)
    for (label, pair), number in merged.items():
        warnings.append(f"`{label}` asks for a setting twice ({pair}): {number} runs are merged")
    for (_, pair), names in labels.items():
        if len(names) > 1:
            warnings.append(f"{' and '.join(f'`{name}`' for name in names)} are the same setting ({pair})")
    return list(kept.values())


def _line_of(study: Study) -> Callable[[Place], int]:
    return lambda place: study.document.at(place)[0]
