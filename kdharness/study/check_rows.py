"""The rows of a study: their distillers, presets, and every value against the field that it is for."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from kdharness.core.errors import BadInput, UnknownName
from kdharness.core.records import Recipe
from kdharness.study.document import Path as Place
from kdharness.study.findings import Findings
from kdharness.study.load import keys_of, nearest, show
from kdharness.study.resolve import (
    RECIPE,
    Constant,
    Pair,
    any_values,
    constants_of,
    distiller_of,
    known_model,
    known_pair,
    row_name,
    settle,
    template,
)
from kdharness.study.rows import Row, long_form, split_pair, study_recipe
from kdharness.study.spec import Choice, Each, Entry, FloatRange, IntRange, Range, RecipeChange, StudySpec

if TYPE_CHECKING:
    from kdharness.core.types import Dataset, Distiller

_ANY_RECIPE = {"epochs": 1, "batch_size": 1, "lr": 1.0}


def check_row(row: Row, spec: StudySpec, found: Findings) -> bool:
    """Whether the row's distiller is known; says what of the row is not."""
    from kdharness.distillers.registry import DISTILLERS

    entry, place = row.entry, row.place
    for index, name in enumerate(entry.through or ()):
        if known_model(name, spec.dataset_name) is None:
            found.unknown((*place, "through", index), "model", name, _models())
    if entry.through is not None and entry.teacher != "trained":
        found.say((*place, "teacher"), f"assistants learn from a trained teacher, not from an {entry.teacher} one")
    name_place = (*place, "name") if found.document.holds((*place, "name")) else place
    unknown = [part for part in row.parts if part not in DISTILLERS]
    for part in unknown:
        found.say(
            name_place,
            f"unknown distiller {show(part)}, {nearest(part, DISTILLERS)}; {_of_your_own(part)}",
        )
    if unknown:
        return False
    try:
        distiller = distiller_of(row)
    except BadInput as error:
        found.say(name_place, error.what)
        return False
    if len(row.parts) > 1 and entry.preset is not None:
        found.say((*place, "preset"), "a sum takes the constants of its members' own presets")
    _check_teaching(row, distiller, found)
    return True


def _of_your_own(name: str) -> str:
    from kdharness.distillers.registry import DISTILLERS

    if name.isidentifier() and Path(f"{name}.py").is_file():
        return f"{name}.py is here: `kdharness --plugin {name} ...` brings what it registers"
    return DISTILLERS.of_your_own


def _check_teaching(row: Row, distiller: "type[Distiller]", found: Findings) -> None:
    """Assistants and control teachers stand where weights teach."""
    try:
        need = distiller(distiller.Config()).needs.teacher
    except ValidationError:
        return  # a constant without a default: its values are checked with the pair
    entry = row.entry
    for key, is_asked in (("through", entry.through is not None), ("teacher", entry.teacher != "trained")):
        if is_asked and need != "weights":
            found.say((*row.place, key), f"{row_name(row)} does not learn from a teacher's weights", key=True)


def _models() -> list[str]:
    from kdharness.models.registry import MODELS

    return list(MODELS)


def range_places(spec: StudySpec, known: list[Row]) -> list[Place]:
    """Where rows have ranges that a search draws from."""
    places: list[Place] = []
    for row in known:
        places += [(*row.place, name) for name, value in row.entry.values.items() if _is_range(value)]
        change = long_form(row.entry.recipe)
        places += [(*row.place, "recipe", name) for name, value in change.values.items() if _is_range(value)]
    return places


def check_values(
    spec: StudySpec, known: list[Row], pairs: list[Pair], dataset: "Dataset | None", found: Findings
) -> None:
    """Every constant and recipe field of the rows; and, where single values are sound, whether they go together."""
    change = study_recipe(spec)
    for name, value in change.values.items():
        if _is_range(value):
            found.say(("recipe", name), "a range stands in a row's recipe, not in the study's")
    _check_recipe(change, ("recipe",), spec, found)
    for row in known:
        _check_row_values(spec, row, pairs, found)
    if not found.problems and dataset is not None:
        for row in known:
            _check_together(spec, row, pairs, dataset, found)


def known_recipe(name: str, place: Place, found: Findings) -> bool:
    from kdharness.training.recipes import names

    if name not in names():
        found.unknown(place, "recipe", name, names())
        return False
    return True


def _is_range(value: Any) -> bool:
    return isinstance(value, FloatRange | IntRange | Choice)


def _check_row_values(spec: StudySpec, row: Row, pairs: list[Pair], found: Findings) -> None:
    distiller = distiller_of(row)
    _check_preset(row, distiller, found)
    constants = constants_of(distiller.Config)
    for name, value in row.entry.values.items():
        _check_constant((*row.place, name), name, value, constants, keys_of(Entry), spec, found)
    named: dict[Pair, str] = {}
    for text, values in row.entry.at.items():
        place = (*row.place, "at", text)
        pair = known_pair(text, spec.dataset_name)
        if pair is None or pair not in pairs:
            if split_pair(text) is None or pairs:
                found.unknown(place, "pair", text, [pair.label for pair in pairs], key=True)
        elif pair in named:
            found.say(place, f"`{text}` is the same pair as `{named[pair]}`: named twice at one level", key=True)
        else:
            named[pair] = text
        for name, value in values.items():
            if _is_range(value):
                found.say((*place, name), "a range stands in the entry, not in `at`")
            else:
                _check_constant((*place, name), name, value, constants, [], spec, found)
    change = long_form(row.entry.recipe)
    if change.base is not None:
        where = (*row.place, "recipe") if isinstance(row.entry.recipe, str) else (*row.place, "recipe", "from")
        known_recipe(change.base, where, found)
    _check_recipe(change, (*row.place, "recipe"), spec, found)


def _check_preset(row: Row, distiller: "type[Distiller]", found: Findings) -> None:
    from kdharness.distillers.presets import PRESETS, load_preset

    name = row.entry.preset
    if name is None or len(row.parts) > 1:
        return
    try:
        load_preset(name).constants(row_name(row), "", "")
    except UnknownName:
        found.unknown((*row.place, "preset"), "preset", name, PRESETS)
    except BadInput as error:
        found.say((*row.place, "preset"), error.what)


def _check_recipe(change: RecipeChange, place: Place, spec: StudySpec, found: Findings) -> None:
    from kdharness.training.recipes import AUGMENTS

    for name, value in change.values.items():
        before = len(found.problems)
        _check_value((*place, name), name, value, Recipe, [*keys_of(RecipeChange), *Recipe.model_fields], spec, found)
        if name in ("augment", "second_view") and len(found.problems) == before:
            for item in _plain_values(value):
                if item is not None and item not in AUGMENTS:
                    found.unknown((*place, name), "augmentation", item, AUGMENTS)
    if change.lr_rule is not None and "lr" in change.values:
        found.say((*place, "lr_rule"), "`lr_rule` and `lr` both set the learning rate", key=True)


def _plain_values(value: Any) -> list[Any]:
    if isinstance(value, Each):
        return value.each
    return value.choice if isinstance(value, Choice) else [value]


def _check_constant(
    place: Place,
    name: str,
    value: Any,
    constants: Mapping[str, Constant],
    keys: list[str],
    spec: StudySpec,
    found: Findings,
) -> None:
    """A constant by the name that a study gives it; `keys` may stand there besides."""
    if name in constants:
        _check_value(place, constants[name].field, value, constants[name].config, [], spec, found)
    else:
        found.unknown_key(place, name, [*keys, *constants])


def _check_value(
    place: Place, name: str, value: Any, model: type[BaseModel], known: list[str], spec: StudySpec, found: Findings
) -> None:
    if name not in model.model_fields:
        found.unknown_key(place, name, known)
        return
    if _is_range(value):
        _check_range(place, value, spec, found)
    elif isinstance(value, Each) and not value.each:
        found.say((*place, "each"), f"`{name}`: an empty `each` asks for nothing")
    for where, item in _items(place, value):
        for detail in _complaints(model, name, item):
            found.value(where, name, detail)


def _check_range(place: Place, value: Range, spec: StudySpec, found: Findings) -> None:
    if spec.search is None and not found.document.holds(("search",)) and place[0] != "recipe":
        found.say(place, f"`{place[-1]}` has a range, but the study has no `search`")
    if isinstance(value, Choice):
        if not value.choice:
            found.say((*place, "choice"), f"`{place[-1]}`: an empty `choice` offers nothing")
        elif any(isinstance(item, list | dict) for item in value.choice):
            found.say((*place, "choice"), f"`{place[-1]}`: a choice is between single values")
        elif len({json.dumps(item) for item in value.choice}) < len(value.choice):
            found.say((*place, "choice"), f"`{place[-1]}` offers a value twice")
    elif value.log and value.bounds[0] <= 0:
        found.say(place, f"`{place[-1]}`: a logarithmic range starts above 0, not at {show(value.bounds[0])}")


def _items(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    if isinstance(value, Each):
        yield from (((*place, "each", index), item) for index, item in enumerate(value.each))
    elif isinstance(value, Choice):
        yield from (((*place, "choice", index), item) for index, item in enumerate(value.choice))
    elif isinstance(value, FloatRange | IntRange):
        key = "float" if isinstance(value, FloatRange) else "int"
        yield from (((*place, key, index), item) for index, item in enumerate(value.bounds))
    else:
        yield place, value


def _complaints(model: type[BaseModel], name: str, value: Any) -> list[Any]:
    """What the field says against the value, whatever the other fields are."""
    others = _ANY_RECIPE if model is Recipe else {}
    try:
        model.model_validate_json(json.dumps({**others, name: value}), strict=True)
    except ValidationError as error:
        return [detail for detail in error.errors(include_url=False) if detail["loc"][:1] == (name,)][:1]
    return []


def _check_together(spec: StudySpec, row: Row, pairs: list[Pair], dataset: "Dataset", found: Findings) -> None:
    """The first values of all axes and ranges at once, for each pair."""
    for pair in pairs:
        made = template(spec, row, pair, dataset, lambda place: found.document.at(place)[0])
        chosen = any_values(made)
        try:
            settle(made, chosen)
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            name = str(detail["loc"][0]) if detail["loc"] else ""
            found.say(made.places.get(name, row.place), f"{row_name(row)}: {detail['msg']}")
        except BadInput as error:
            place = next((made.places[key] for key in chosen if key.startswith(RECIPE)), row.place)
            found.say(place, str(error))
