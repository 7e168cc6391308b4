"""From a study to its runs: every row, pair, axis value and seed. The size is known before anything is made."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdharness.core.errors import BadInput, StudyError
from kdharness.core.home import Home
from kdharness.core.records import WantedRun
from kdharness.reporting.methods import warming_up
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
    Template,
    any_values,
    distiller_of,
    known_pair,
    template,
)
from kdharness.study.rows import rows
from kdharness.study.searching.record import trainings
from kdharness.study.spec import SearchPart, StudySpec
from kdharness.study.students import settled, student_runs
from kdharness.study.teachers import TeacherSource, final_teachers, teacher_run, way_of

if TYPE_CHECKING:
    from kdharness.core.types import Dataset

MAX_RUNS = 10_000


@dataclass(frozen=True)
class SearchedRow:
    """A row with ranges at one point of its axes: one search, then final runs with what it chose."""

    templates: tuple[Template, ...]
    """Of the pairs that its choice is for: those of the study, or one of them where each has a search of its own."""
    chosen: Mapping[str, Any]
    """The values of its axes."""

    def on(self, spec: StudySpec) -> list[Template]:
        """Of the pairs that it is searched on."""
        assert spec.search is not None  # a range without a search is no study
        if spec.search.pairs == "each":
            return list(self.templates)
        pairs = [known_pair(text, spec.dataset_name) for text in spec.search.pairs]
        return [one for one in self.templates if one.pair in pairs]


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
        keys = list(zip(self.wanted, _keys(self.wanted), strict=True))
        settings = len({key for run, key in keys if run.purpose != "teacher"})
        runs = len({(key, run.seed) for run, key in keys})
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
        ranged = _ranged(row, spec.search)
        searched += _searched(ranged, spec.search)
        for one in ranged:
            compatibility.check(one, settled(study, one, any_values(one)))
        for one in (one for one in row if one not in ranged):
            for chosen in _points(one):
                resolved = settled(study, one, chosen)
                compatibility.check(one, resolved)
                finals += student_runs(study, dataset, one, chosen, resolved, teachers, seeds=spec.seed_list)
    if compatibility.problems:
        raise StudyError(study.path, compatibility.problems)
    finals = _without_twins(finals, warnings)
    warnings += _unpublished(templates) + _unfair(spec, templates)
    if study.smoke is None:
        warnings += _still_warming_up(finals) + _moved_milestones(study, templates)
    if any(_needs_weights(study, row[0]) for row in templates):
        wanted = [teacher_run(source) for source in teachers.values() if source.trained is not None] + finals
    else:  # nobody learns from them: a table's head then names them without an accuracy
        wanted = [replace(run, teacher_id=None) for run in finals]
    missing = [what for what in (missing_images(dataset), *(one.missing for one in teachers.values())) if what]
    return Expansion(
        study, dataset, tuple(pairs), wanted, tuple(searched), count, search_count, warnings, teachers, missing
    )


def expand_at(
    study: Study, home: Home, data: Path | None = None, confirmed: int | None = None, *, upgrade: bool = False
) -> Expansion:
    """As `expand`, with what the home has: its data directory where none is named, and its imported teachers.

    With `upgrade` an older database is brought up to date first. Raises EnvironmentRefused where it cannot be read.
    """
    imports = Store(home, create=upgrade).imported_teachers() if home.results.exists() else []
    return expand(study, data=data or home.data, imports=imports, confirmed=confirmed)


def _needs_weights(study: Study, one: Template) -> bool:
    if one.row.entry.teacher == "untrained":
        return False
    resolved = settled(study, one, any_values(one))
    return distiller_of(one.row)(resolved.config).needs.teacher == "weights"


def _unfair(spec: StudySpec, templates: list[list[Template]]) -> list[str]:
    """Rows marked ours that a search chooses among more settings than others may."""
    draws = spec.search.draws if spec.search is not None else 1
    fixed = [row[0].label for row in templates if not row[0].row.entry.ours and not any(one.ranges for one in row)]
    ours = [row[0].label for row in templates if row[0].row.entry.ours and any(one.ranges for one in row)]
    named = [label for label in fixed if label != "none"]
    if draws < 2 or not named:
        return []
    others = ", ".join(f"`{label}`" for label in named)
    return [
        f"`{label}` (ours) is chosen among {draws} settings, {others} has one: a fair search has equal budgets"
        for label in ours
    ]


def _unpublished(templates: list[list[Template]]) -> list[str]:
    """Rows and pairs whose constants the paper did not release, though it prints their result."""
    return [
        f"`{one.label}` for {one.pair.label}: {one.unpublished} prints a result but released no constants for the "
        "pair, the general ones are used"
        for row in templates
        for one in row
        if one.unpublished
    ]


def _still_warming_up(runs: list[WantedRun]) -> list[str]:
    """Rows with a loss that has not grown to its weight when the training ends."""
    told = {}
    for run in runs:
        said = warming_up(run.setting.constants, run.setting.recipe.epochs)
        if said:
            told[run.label] = f"`{run.label}`: {said}"
    return [f"{said}; write a shorter one, or train longer" for said in told.values()]


def _moved_milestones(study: Study, templates: list[list[Template]]) -> list[str]:
    """Rows whose drops of the learning rate, pinned by their preset, are moved by the study's `epochs`."""
    told = {}
    for one in (one for row in templates for one in row):
        if RECIPE + "epochs" not in one.places or RECIPE + "milestones" in one.places:
            continue
        recipe, pinned = settled(study, one, any_values(one)).recipe, one.preset_recipe.get("milestones", ())
        if recipe.milestones and pinned and recipe.milestones != tuple(pinned):
            then, now = (", ".join(map(str, epochs)) for epochs in (pinned, recipe.milestones))
            told[one.label] = (
                f"`{one.label}`: `epochs: {recipe.epochs}` moves the milestones {then} of its preset to {now}; "
                "write `milestones` beside it to set them"
            )
    return list(told.values())


def _points(one: Template) -> Iterator[dict[str, Any]]:
    """Every combination of the values of the axes."""
    for values in product(*one.axes.values()):
        yield dict(zip(one.axes, values, strict=True))


def _ranged(row: list[Template], search: SearchPart | None) -> list[Template]:
    """Of the pairs that wait for a search: where one serves all pairs, those too whose `at` leaves no range open."""
    ranged = [one for one in row if one.ranges]
    return row if ranged and search is not None and search.pairs != "each" else ranged


def _searched(ranged: list[Template], search: SearchPart | None) -> Iterator[SearchedRow]:
    """The searches of a row with ranges: one for each point of its axes, with `pairs: each` for each pair too."""
    alone = search is not None and search.pairs == "each"
    for group in [[one] for one in ranged] if alone else [ranged] if ranged else []:
        for chosen in _points(group[0]):
            yield SearchedRow(tuple(group), chosen)


def _count(study: Study, templates: list[list[Template]], pairs: list[Pair]) -> tuple[int, int]:
    """Runs at most, without and by searches, by arithmetic alone."""
    spec, seeds, search = study.spec, len(study.spec.seed_list), study.spec.search
    models = {model for pair in pairs for model in pair.teachers}
    plain, searched = sum(way_of(spec, model) == "train" for model in models), 0
    for row in templates:
        assistants = len(row[0].row.entry.through or ())
        ranged = _ranged(row, search)
        plain += sum(_size(one) for one in row if one not in ranged) * (seeds + assistants)
        for one in _searched(ranged, search):
            assert search is not None
            on = len(one.on(spec))
            searched += on * (trainings(search) + search.draws * assistants)
            searched += (len(one.templates) + on) * (seeds + assistants)  # the choice, and the papers' constants
    if search is not None and searched:
        named = [pair.label for pair in pairs] if search.pairs == "each" else search.pairs
        known = [known_pair(text, spec.dataset_name) for text in named]
        searched += len({model for pair in known if pair is not None for model in pair.teachers})
    return plain, searched


def _size(one: Template) -> int:
    """How many points its axes have."""
    return prod(len(values) for values in one.axes.values())


def _without_twins(runs: list[WantedRun], warnings: list[str]) -> list[WantedRun]:
    """Without values of an axis that mean the same; rows that share a setting are told."""
    kept: dict[tuple[str, int, str, str], WantedRun] = {}
    labels: dict[tuple[str, str], list[str]] = {}
    merged: dict[tuple[str, str], int] = {}
    for run, of_setting in zip(runs, _keys(runs), strict=True):
        key = (of_setting, run.seed, run.label, run.pair)
        if key in kept:
            merged[run.label, run.pair] = merged.get((run.label, run.pair), 0) + 1
            continue
        kept[key] = run
        shared = labels.setdefault((of_setting, run.pair), [])
        if run.label not in shared:
            shared.append(run.label)
    for (label, pair), number in merged.items():
        warnings.append(f"`{label}` asks for a setting twice ({pair}): {number} runs are merged")
    for (_, pair), names in labels.items():
        if len(names) > 1:
            warnings.append(f"{' and '.join(f'`{name}`' for name in names)} are the same setting ({pair})")
    return list(kept.values())


def _keys(runs: Sequence[WantedRun]) -> list[str]:
    """Each run's setting key. All seeds of an entry share one object, and a key takes a while."""
    known: dict[int, str] = {}
    for run in runs:
        if id(run.setting) not in known:
            known[id(run.setting)] = run.setting.key
    return [known[id(run.setting)] for run in runs]


def _line_of(study: Study) -> Callable[[Place], int]:
    return lambda place: study.document.at(place)[0]
