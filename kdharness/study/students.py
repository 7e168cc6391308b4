"""The runs of a resolved row: the student's, one for each seed, after those of the assistants it learns through."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kdharness.core.errors import BadInput, Problem, StudyError
from kdharness.core.records import Purpose, WantedRun
from kdharness.study.load import Study
from kdharness.study.resolve import (
    RECIPE,
    Pair,
    Resolved,
    Template,
    known_model,
    make_setting,
    settle,
    template,
    value_of,
)
from kdharness.study.teachers import TEACHER, TeacherSource, teacher_recipe

if TYPE_CHECKING:
    from kdharness.core.types import Dataset


def student_runs(
    study: Study,
    dataset: "Dataset",
    one: Template,
    chosen: Mapping[str, Any],
    resolved: Resolved,
    teachers: Mapping[str, TeacherSource],
    *,
    seeds: Sequence[int],
    purpose: Purpose = "final",
    validation: float = 0.0,
) -> list[WantedRun]:
    """One run for each seed, the assistants' before them. `teachers` are the study's by model."""
    before = [teachers[model] for model in one.pair.teachers]
    head = _joined([source.id for source in before])
    assistants: list[WantedRun] = []
    for link in links(study, one)[:-1]:
        run = _assistant(study, dataset, one, chosen, link, before, validation)
        before = [TeacherSource(link.student, trained=run.setting)]
        assistants.append(run)
    setting = make_setting(dataset, one, resolved, before, validation)
    entry = one.row.entry
    return assistants + [
        WantedRun(
            setting=setting,
            seed=seed,
            purpose=purpose,
            label=one.label,
            pair=one.pair.label,
            student=one.pair.student,
            teacher=one.pair.teacher,
            teacher_id=head,
            row=one.row.number,
            group=one.row.group,
            axes={name: _axis_value(resolved, name) for name in one.axes if name in chosen},
            against=entry.against,
            ours=entry.ours,
            provenance=resolved.provenance,
        )
        for seed in seeds
    ]


def links(study: Study, one: Template) -> list[Pair]:
    """Who teaches whom, in order: the pair itself, or with `through` the steps from its teacher to its student."""
    names = [known_model(name, study.spec.dataset_name) for name in one.row.entry.through or ()]
    between = [name for name in names if name is not None]
    steps = [one.pair.teachers, *((name,) for name in between)]
    return [Pair(teachers, student) for teachers, student in zip(steps, [*between, one.pair.student], strict=True)]


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


def _assistant(
    study: Study,
    dataset: "Dataset",
    one: Template,
    chosen: Mapping[str, Any],
    link: Pair,
    before: Sequence[TeacherSource],
    validation: float,
) -> WantedRun:
    """The row's method and constants, its preset's for this link; the teachers' recipe; seed 0."""
    own = template(study.spec, one.row, link, dataset, lambda place: study.document.at(place)[0])
    constants = {name: value for name, value in chosen.items() if not name.startswith(RECIPE) and name in own.names}
    resolved = settled(study, own, constants)
    recipe = teacher_recipe(study.spec, dataset, link.student)
    provenance = {name: source for name, source in resolved.provenance.items() if not name.startswith(RECIPE)}
    provenance |= {f"{RECIPE}{name}": "the teachers' recipe" for name in type(recipe).model_fields}
    return WantedRun(
        setting=make_setting(dataset, own, Resolved(resolved.config, recipe, provenance), before, validation),
        seed=0,
        purpose="teacher",
        label=TEACHER,
        pair=link.label,
        student=link.student,
        teacher=link.teacher,
        teacher_id=_joined([source.id for source in before]),
        provenance=provenance,
    )


def _joined(ids: Sequence[str | None]) -> str | None:
    """The teachers of an ensemble as one; None where one of them is missing."""
    known = [one for one in ids if one is not None]
    return " + ".join(known) if len(known) == len(ids) else None


def _axis_value(resolved: Resolved, name: str) -> str | int | float | bool:
    """The value as its field types it: 4 on a real field is 4.0, a list is text."""
    value = value_of(resolved, name)
    return value if isinstance(value, str | int | float | bool) else " ".join(map(str, value or ["null"]))
