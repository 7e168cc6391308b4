"""What a row takes from its preset: constants, fields of the recipe, and whether its paper released them at all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kdharness.study.rows import Row

if TYPE_CHECKING:
    from kdharness.core.types import Distiller


@dataclass(frozen=True)
class PresetLayers:
    """The preset's values for one pair, its levels laid over each other."""

    constants: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the recipe by name; none of a sum's members."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where each constant, and each field as `recipe.FIELD`, stands."""
    unpublished: str = ""
    """The preset whose paper prints a result for the pair, but released no constants for it."""


def preset_layers(row: Row, distiller: "type[Distiller]", dataset: str, pair: str) -> PresetLayers:
    """Of the entry's preset, else of the method's own; in a sum of each member's own."""
    from kdharness.distillers.registry import DISTILLERS
    from kdharness.distillers.sums import Sum

    if not issubclass(distiller, Sum):
        name = row.entry.preset or distiller.preset
        return _layers(name, DISTILLERS.canonical(row.entry.name), dataset, pair) if name else PresetLayers()
    constants: dict[str, Any] = {}
    sources: dict[str, str] = {}
    unpublished = []
    for member, method in distiller.members.items():
        own = _layers(method.preset, member, dataset, pair) if method.preset else PresetLayers()
        unpublished += [own.unpublished] if own.unpublished else []
        constants |= {f"{member}.{name}": value for name, value in own.constants.items()}
        sources |= {f"{member}.{name}": own.sources[name] for name in own.constants}
    return PresetLayers(constants, {}, sources, ", ".join(unpublished))


def _layers(name: str, method: str, dataset: str, pair: str) -> PresetLayers:
    from kdharness.distillers.presets import load_preset

    preset = load_preset(name)
    constants: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, values in preset.constants(method, dataset, pair):
        constants.update(values)
        sources.update(dict.fromkeys(values, source))
    for source, values in preset.recipe(method, dataset, pair):
        recipe.update(values)
        sources.update({f"recipe.{field}": source for field in values})
    unpublished = preset.name if preset.is_unpublished(method, dataset, pair) else ""
    return PresetLayers(constants, recipe, sources, unpublished)
