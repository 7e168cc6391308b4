"""Where every constant of a row comes from, and the value it ends with.

Weakest first: the method's defaults, the preset's general values, the preset's values for the dataset and the pair, the
entry, `at`; a search's draw is the strongest. Fields of a recipe: the named recipe, the study's changes, the entry's.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kdharness.core.errors import UnknownName
from kdharness.core.plugins import revision_of
from kdharness.core.records import Recipe, Setting
from kdharness.study.document import Path as Place
from kdharness.study.rows import Row, long_form, split_pair, study_recipe
from kdharness.study.spec import Choice, Each, FloatRange, IntRange, Range, StudySpec

if TYPE_CHECKING:  # torch is loaded when a name is looked up, not before
    from kdharness.core.types import Dataset, Distiller, ModelEntry
    from kdharness.study.teachers import TeacherSource

RECIPE = "recipe."
"""Prefix of a recipe's fields among a row's values: `recipe.batch_size`."""


@dataclass(frozen=True)
class Pair:
    """A teacher and a student by their listed names."""

    teacher: str
    student: str

    @property
    def label(self) -> str:
        return f"{self.teacher} -> {self.student}"


@dataclass(frozen=True)
class Written:
    """A value that stands in the study file."""

    value: Any
    """Plain, Each or a range."""
    source: str
    place: Place


@dataclass(frozen=True)
class Template:
    """A row for one pair, before its axes are multiplied out and its ranges are drawn."""

    row: Row
    label: str
    pair: Pair
    recipe: str
    """Name of the recipe that the fields change."""
    lr_rule: str | None
    fixed: Mapping[str, Any]
    axes: Mapping[str, list[Any]]
    ranges: Mapping[str, Range]
    sources: Mapping[str, str]
    places: Mapping[str, Place] = field(default_factory=dict)


@dataclass(frozen=True)
class Resolved:
    """A row for one pair with every value known."""

    config: Any
    recipe: Recipe
    provenance: Mapping[str, str]


def distiller_of(row: Row) -> "type[Distiller]":
    """The class that the row names. Raises UnknownName."""
    from kdharness.distillers.registry import DISTILLERS

    return DISTILLERS.get(row.entry.name)


def model_of(name: str) -> "ModelEntry":
    """Raises UnknownName."""
    from kdharness.models.registry import MODELS

    return MODELS.get(name)


def label_of(row: Row) -> str:
    """The entry's label, else the distiller's listed name, else what is written."""
    from kdharness.distillers.registry import DISTILLERS

    if row.entry.label is not None:
        return row.entry.label
    return DISTILLERS.canonical(row.entry.name) if row.entry.name in DISTILLERS else row.entry.name


def preset_constants(
    row: Row, distiller: "type[Distiller]", dataset: str, pair: Pair
) -> list[tuple[str, dict[str, Any]]]:
    """The preset's layers for the row, weakest first; none where neither row nor method names a preset."""
    from kdharness.distillers.presets import load_preset

    name = row.entry.preset or distiller.preset
    if name is None:
        return []
    return load_preset(name).constants(row_name(row), dataset, pair.label)


def row_name(row: Row) -> str:
    """The row's distiller by its listed name. Raises UnknownName."""
    from kdharness.distillers.registry import DISTILLERS

    return DISTILLERS.canonical(row.entry.name)


def written(spec: StudySpec, row: Row, pair: Pair, line: Callable[[Place], int]) -> dict[str, Written]:
    """What the file says for the row and the pair: constants by name, recipe fields as `recipe.FIELD`.

    `line(place)` is the line of a place, for the source.
    """
    found: dict[str, Written] = {}

    def put(prefix: str, values: Mapping[str, Any], place: Place, source: str) -> None:
        for name, value in values.items():
            where = (*place, name)
            found[prefix + name] = Written(value, f"{source}, line {line(where)}", where)

    own = long_form(row.entry.recipe)
    if own.base is None:  # an entry that names a recipe starts from it, not from the study's changes
        put(RECIPE, study_recipe(spec).values, ("recipe",), "study")
    put(RECIPE, own.values, (*row.place, "recipe"), "entry")
    put("", row.entry.values, row.place, "entry")
    for text, values in row.entry.at.items():
        if known_pair(text, spec.dataset_name) == pair:
            put("", values, (*row.place, "at", text), f"at {pair.label}")
    return found


def known_model(name: str, dataset: str) -> str | None:
    """The listed name of a model on the dataset, None where it is unknown."""
    from kdharness.models.naming import model_name

    try:
        return model_name(name, dataset)
    except UnknownName:
        return None


def known_pair(text: str, dataset: str) -> Pair | None:
    """The pair that a text names on the dataset, None where it is none or a model is unknown."""
    names = [known_model(side, dataset) for side in split_pair(text) or ()]
    teacher, student = names if names else (None, None)
    return Pair(teacher, student) if teacher is not None and student is not None else None


def recipe_of(spec: StudySpec, row: Row | None, dataset: "Dataset") -> tuple[str, str | None]:
    """Name of the recipe that the row (None: the study) changes, and its rule for the learning rate."""
    change = study_recipe(spec)
    name, rule = change.base or dataset.recipe, change.lr_rule
    if row is not None:
        own = long_form(row.entry.recipe)
        if own.base is not None:
            name, rule = own.base, None
        rule = own.lr_rule or rule
    return name, rule


def template(spec: StudySpec, row: Row, pair: Pair, dataset: "Dataset", line: Callable[[Place], int]) -> Template:
    """The row for the pair: what is fixed, what is an axis, what a search draws. Raises UnknownName."""
    fixed: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, values in preset_constants(row, distiller_of(row), dataset.name, pair):
        fixed.update(values)
        sources.update(dict.fromkeys(values, source))
    axes: dict[str, list[Any]] = {}
    ranges: dict[str, Range] = {}
    places: dict[str, Place] = {}
    for name, item in written(spec, row, pair, line).items():
        axes.pop(name, None)
        ranges.pop(name, None)
        sources[name], places[name] = item.source, item.place
        if isinstance(item.value, Each):
            axes[name] = item.value.each
        elif isinstance(item.value, FloatRange | IntRange | Choice):
            ranges[name] = item.value
        else:
            fixed[name] = item.value
    recipe, rule = recipe_of(spec, row, dataset)
    return Template(row, label_of(row), pair, recipe, rule, fixed, axes, ranges, sources, places)


def any_values(template: Template) -> dict[str, Any]:
    """The first value of every axis and range: enough to see what kind of setting the row makes."""
    chosen = {name: values[0] for name, values in template.axes.items()}
    for name, value in template.ranges.items():
        chosen[name] = value.choice[0] if isinstance(value, Choice) else value.bounds[0]
    return chosen


def settle(template: Template, chosen: Mapping[str, Any], chosen_source: str = "") -> Resolved:
    """The row with `chosen` values for its axes and ranges.

    Raises pydantic's ValidationError for constants, BadInput for recipe fields that do not go together.
    """
    from kdharness.training.recipes import load_recipe

    values = {**template.fixed, **chosen}
    distiller = distiller_of(template.row)
    constants = {name: value for name, value in values.items() if not name.startswith(RECIPE)}
    config = distiller.Config.model_validate_json(json.dumps(constants), strict=True)
    overrides = {name.removeprefix(RECIPE): value for name, value in values.items() if name.startswith(RECIPE)}
    overrides = {name: tuple(value) if isinstance(value, list) else value for name, value in overrides.items()}
    student = model_of(template.pair.student)
    rule = {"lr_rule": template.lr_rule} if template.lr_rule is not None else {}
    recipe = load_recipe(template.recipe).resolve(student.name, student.family, {**overrides, **rule})
    return Resolved(config, recipe, _provenance(template, chosen, chosen_source))


def _provenance(template: Template, chosen: Mapping[str, Any], chosen_source: str) -> dict[str, str]:
    method = row_name(template.row)
    found: dict[str, str] = {}
    for name in distiller_of(template.row).Config.model_fields:
        found[f"{method}.{name}"] = template.sources.get(name, f"default of {method}")
    for name in Recipe.model_fields:
        found[RECIPE + name] = template.sources.get(RECIPE + name, f"recipe {template.recipe}")
    if template.lr_rule is not None and RECIPE + "lr" not in template.sources:
        found[RECIPE + "lr"] += f", lr_rule {template.lr_rule}"
    for name in chosen:
        if chosen_source and name in template.ranges:
            found[name if name.startswith(RECIPE) else f"{method}.{name}"] = chosen_source
    return found


def make_setting(
    dataset: "Dataset",
    template: Template,
    resolved: Resolved,
    teachers: Mapping[str, "TeacherSource"],
    validation: float = 0.0,
) -> Setting:
    """The setting of a resolved row. `teachers` are those of the study by model."""
    from kdharness.core.keys import canonical

    distiller = distiller_of(template.row)
    need = distiller(resolved.config).needs.teacher
    return Setting(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        validation=validation,
        student=template.pair.student,
        student_revision=model_of(template.pair.student).revision,
        teachers=teachers[template.pair.teacher].named(need),
        distiller=row_name(template.row),
        distiller_revision=revision_of(distiller, distiller.revision),
        constants=canonical(resolved.config),
        recipe=resolved.recipe,
    )
