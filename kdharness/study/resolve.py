"""Where every constant of a row comes from, and the value it ends with.

Weakest first: the method's defaults, the preset's general values, the preset's values for the dataset and the pair, the
entry, `at`; a search's draw is the strongest. Fields of a recipe: the named recipe, the study's changes, the entry's.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from kdharness.core.errors import BadInput, UnknownName
from kdharness.core.records import Recipe, Setting
from kdharness.study.document import Path as Place
from kdharness.study.presets import preset_layers
from kdharness.study.rows import Row, long_form, split_pair, split_teachers, study_recipe
from kdharness.study.spec import Choice, Each, FloatRange, IntRange, Range, StudySpec

if TYPE_CHECKING:  # torch is loaded when a name is looked up, not before
    from kdharness.core.types import Dataset, Distiller, ModelEntry
    from kdharness.study.teachers import TeacherSource

UNPUBLISHED = "unpublished"
"""Stands in the provenance of a setting whose preset released no constants for the pair: the preset's name."""

RECIPE = "recipe."
"""Prefix of a recipe's fields among a row's values: `recipe.batch_size`."""


@dataclass(frozen=True)
class Pair:
    """Teachers and a student by their listed names; several teachers are an ensemble."""

    teachers: tuple[str, ...]
    student: str

    @property
    def teacher(self) -> str:
        """As shown: `resnet32x4 + wrn_40_2` for an ensemble."""
        return " + ".join(self.teachers)

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
    """Where an axis or a range has the name too, what holds without it."""
    axes: Mapping[str, list[Any]]
    ranges: Mapping[str, Range]
    sources: Mapping[str, str]
    places: Mapping[str, Place] = field(default_factory=dict)
    preset_recipe: Mapping[str, Any] = field(default_factory=dict)
    """What the preset changes in the recipe, before the study and the entry do."""
    unpublished: str = ""
    """The preset that has a printed result for this pair, but no constants."""

    @property
    def names(self) -> set[str]:
        """Of the axes and the ranges: what a caller of `settle` chooses."""
        return {*self.axes, *self.ranges}


@dataclass(frozen=True)
class Resolved:
    """A row for one pair with every value known."""

    config: Any
    recipe: Recipe
    provenance: Mapping[str, str]


def distiller_of(row: Row) -> "type[Distiller]":
    """The class that the row names, a sum's made for it. Raises UnknownName, and BadInput for an impossible sum."""
    from kdharness.distillers.sums import method

    return method(row.entry.name)


@dataclass(frozen=True)
class Constant:
    """Where a constant stands in a Config."""

    config: type[BaseModel]
    field: str
    member: str = ""
    """The sum's member that has it."""


def constants_of(config: type[BaseModel]) -> dict[str, Constant]:
    """Every constant by the name that a study gives it: `temperature`, in a sum `luminet.temperature`."""
    found: dict[str, Constant] = {}
    for name, info in config.model_fields.items():
        own = info.annotation
        if isinstance(own, type) and issubclass(own, BaseModel):
            found |= {f"{name}.{field}": Constant(own, field, name) for field in own.model_fields}
        else:
            found[name] = Constant(config, name)
    return found


def model_of(name: str) -> "ModelEntry":
    """Raises UnknownName."""
    from kdharness.models.registry import MODELS

    return MODELS.get(name)


def label_of(row: Row) -> str:
    """The entry's label, else the distiller's listed name, else what is written."""
    if row.entry.label is not None:
        return row.entry.label
    try:
        return row_name(row)
    except BadInput:
        return row.entry.name


def row_name(row: Row) -> str:
    """The row's distiller by its listed name. Raises UnknownName."""
    from kdharness.distillers.sums import canonical_method

    return canonical_method(row.entry.name)


def written(spec: StudySpec, row: Row, pair: Pair, line: Callable[[Place], int]) -> list[tuple[str, Written]]:
    """What the file says for the row and the pair, weakest first: constants by name, recipe fields as `recipe.FIELD`.

    `line(place)` is the line of a place, for the source.
    """
    found: list[tuple[str, Written]] = []

    def put(prefix: str, values: Mapping[str, Any], place: Place, source: str) -> None:
        for name, value in values.items():
            where = (*place, name)
            found.append((prefix + name, Written(value, f"{source}, line {line(where)}", where)))

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
    sides = split_pair(text)
    if sides is None:
        return None
    *teachers, student = [known_model(name, dataset) for name in (*split_teachers(sides[0]), sides[1])]
    if student is None or None in teachers:
        return None
    return Pair(tuple(name for name in teachers if name is not None), student)


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
    preset = preset_layers(row, distiller_of(row), dataset.name, pair.label)
    fixed, sources = dict(preset.constants), dict(preset.sources)
    axes: dict[str, list[Any]] = {}
    ranges: dict[str, Range] = {}
    places: dict[str, Place] = {}
    for name, item in written(spec, row, pair, line):
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
    changed = preset.recipe if long_form(row.entry.recipe).base is None else {}
    sources = {RECIPE + name: preset.sources[RECIPE + name] for name in changed} | sources
    return Template(
        row, label_of(row), pair, recipe, rule, fixed, axes, ranges, sources, places, changed, preset.unpublished
    )


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
    constants: dict[str, Any] = {}
    for name, constant in constants_of(distiller.Config).items():
        if name in values:
            level = constants.setdefault(constant.member, {}) if constant.member else constants
            level[constant.field] = values[name]
    config = distiller.Config.model_validate_json(json.dumps(constants), strict=True)
    overrides = {name.removeprefix(RECIPE): value for name, value in values.items() if name.startswith(RECIPE)}
    overrides = {name: tuple(value) if isinstance(value, list) else value for name, value in overrides.items()}
    student = model_of(template.pair.student)
    rule = {"lr_rule": template.lr_rule} if template.lr_rule is not None else {}
    named = load_recipe(template.recipe)
    recipe = named.resolve(student.name, student.family, {**overrides, **rule}, template.preset_recipe)
    return Resolved(config, recipe, _provenance(template, chosen, chosen_source))


def _provenance(template: Template, chosen: Mapping[str, Any], chosen_source: str) -> dict[str, str]:
    method = row_name(template.row)
    found: dict[str, str] = {}
    for name in constants_of(distiller_of(template.row).Config):
        found[f"{method}.{name}"] = template.sources.get(name, f"default of {method}")
    for name in Recipe.model_fields:
        found[RECIPE + name] = template.sources.get(RECIPE + name, f"recipe {template.recipe}")
    if template.lr_rule is not None and RECIPE + "lr" not in template.sources:
        found[RECIPE + "lr"] += f", lr_rule {template.lr_rule}"
    if template.unpublished:
        found[UNPUBLISHED] = template.unpublished
    for name in chosen:
        if chosen_source and name in template.ranges:
            found[name if name.startswith(RECIPE) else f"{method}.{name}"] = chosen_source
    return found


def value_of(resolved: Resolved, name: str) -> Any:
    """A constant, or a field of the recipe as `recipe.FIELD`, by the name that a study gives it."""
    if name.startswith(RECIPE):
        return getattr(resolved.recipe, name.removeprefix(RECIPE))
    constant = constants_of(type(resolved.config))[name]
    holder = getattr(resolved.config, constant.member) if constant.member else resolved.config
    return getattr(holder, constant.field)


def make_setting(
    dataset: "Dataset",
    template: Template,
    resolved: Resolved,
    teachers: Sequence["TeacherSource"],
    validation: float = 0.0,
) -> Setting:
    """The setting of a resolved row taught by `teachers`, those that really stand in front of the student."""
    from kdharness.core.keys import canonical
    from kdharness.distillers.sums import revision

    distiller = distiller_of(template.row)
    control = template.row.entry.teacher
    need = distiller(resolved.config).needs.teacher
    if need == "weights" and control == "untrained":
        need = "architecture"
    return Setting(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        validation=validation,
        student=template.pair.student,
        student_revision=model_of(template.pair.student).revision,
        teachers=tuple(teacher for source in teachers for teacher in source.named(need)),
        control=control,
        distiller=row_name(template.row),
        distiller_revision=revision(distiller),
        constants=canonical(resolved.config),
        grad_matched=template.row.entry.grad_matched,
        recipe=resolved.recipe,
    )
