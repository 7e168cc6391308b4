"""Reads a paper's constants: for each method general values, a dataset's, and those of a teacher-student pair."""

import difflib
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from pydantic import Field, field_validator

from kdharness.core.errors import BadInput, UnknownName
from kdharness.core.keys import Frozen

_FOLDER = resources.files("kdharness.distillers.presets")

PRESETS: tuple[str, ...] = tuple(
    sorted(entry.name.removesuffix(".toml") for entry in _FOLDER.iterdir() if entry.name.endswith(".toml"))
)
"""The names that `load_preset` takes."""


class _Scope(Frozen):
    """The values that hold in one place: constants of the method's Config, and fields of the recipe."""

    constants: dict[str, Any] = Field(default_factory=dict)
    recipe: dict[str, Any] = Field(default_factory=dict)
    unpublished: bool = False
    """The paper prints a result for it, but its constants were never released: weaker ones are used."""


class _OnDataset(_Scope):
    pairs: dict[str, _Scope] = Field(default_factory=dict)
    """By `teacher -> student`, written as `_pair_key` makes it."""

    @field_validator("pairs")
    @classmethod
    def _one_spelling(cls, pairs: dict[str, _Scope]) -> dict[str, _Scope]:
        keyed = {_pair_key(pair): scope for pair, scope in pairs.items()}
        if len(keyed) < len(pairs):
            raise ValueError("a pair stands twice")
        return keyed


class _Method(_Scope):
    datasets: dict[str, _OnDataset] = Field(default_factory=dict)


class Preset(Frozen):
    """What one paper (or its code) trains with."""

    name: str
    paper: str
    source: str
    """Where the values were read."""
    methods: dict[str, _Method]

    def constants(self, distiller: str, dataset: str, pair: str) -> list[tuple[str, dict[str, Any]]]:
        """(source, values of the Config's fields), weakest first; `pair` as `teacher -> student`.

        Sources read "preset NAME", "preset NAME on DATASET" and "preset NAME for PAIR"; a level without values is
        left out. Raises BadInput where the preset says nothing of the distiller.
        """
        return [
            (source, scope.constants) for source, scope in self._scopes(distiller, dataset, pair) if scope.constants
        ]

    def recipe(self, distiller: str, dataset: str, pair: str) -> list[tuple[str, dict[str, Any]]]:
        """The same for the fields of the recipe that the paper sets for this method."""
        return [(source, scope.recipe) for source, scope in self._scopes(distiller, dataset, pair) if scope.recipe]

    def is_unpublished(self, distiller: str, dataset: str, pair: str) -> bool:
        """Whether the paper prints a result here without having released the constants."""
        return any(scope.unpublished for _, scope in self._scopes(distiller, dataset, pair))

    def _scopes(self, distiller: str, dataset: str, pair: str) -> Iterator[tuple[str, _Scope]]:
        method = self.methods.get(distiller.lower())
        if method is None:
            raise BadInput(
                f"preset {self.name} has no constants for {distiller!r}, only for {', '.join(sorted(self.methods))}"
            )
        yield f"preset {self.name}", method
        on_dataset = method.datasets.get(dataset.lower(), _OnDataset())
        yield f"preset {self.name} on {dataset}", on_dataset
        pairs = {_resolved(key, dataset): scope for key, scope in on_dataset.pairs.items()}
        yield f"preset {self.name} for {pair}", pairs.get(_resolved(_pair_key(pair), dataset), _Scope())


@cache
def load_preset(name: str) -> Preset:
    """The preset of that name; look-up ignores case. Raises UnknownName with the nearest one."""
    if name.lower() not in PRESETS:
        near = difflib.get_close_matches(name.lower(), PRESETS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(PRESETS)
        raise UnknownName(f"unknown preset {name!r}, {hint}")
    text = (_FOLDER / f"{name.lower()}.toml").read_text(encoding="utf-8")
    return Preset(name=name.lower(), **tomllib.loads(text))


def _pair_key(pair: str) -> str:
    """One spelling of `teacher -> student`: WRN_40_2 -> wrn-16-2 is wrn402->wrn162."""
    return "".join(pair.lower().split()).replace("_", "").replace("-", "").replace(">", "->")


def _resolved(key: str, dataset: str) -> str:
    """The key with literature names resolved on the dataset: resnet50->... is resnet50cifar->... on cifar100."""
    from kdharness.models.naming import model_name

    sides = []
    for side in key.split("->"):
        try:
            sides.append(_pair_key(model_name(side, dataset)))
        except UnknownName:  # a network that this version lacks, or a spelling such as wrn402
            sides.append(side)
    return "->".join(sides)
