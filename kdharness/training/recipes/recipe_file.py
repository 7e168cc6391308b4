"""Named recipes: one TOML file each, whose head says what it claims and where that is from. Needs no torch."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Literal, get_args

from pydantic import ValidationError

from kdharness.core.errors import BadInput, UnknownName
from kdharness.core.records import Recipe

Augment = Literal["none", "shift1", "crop4-flip"]
AUGMENTS: tuple[str, ...] = get_args(Augment)
"""The names that `Recipe.augment` may have; `training.augmentation` holds what they do."""

LR_RULES = ("constant", "linear")


@dataclass(frozen=True)
class RecipeFile:
    """One named recipe before it meets a student."""

    name: str
    about: str
    values: Mapping[str, Any]
    lr_by_family: Mapping[str, float]
    """The learning rate for students of a family where it is not the recipe's."""

    def resolve(self, student: str, family: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
        """The recipe for a student (its name stands in messages only) of a model family.

        `overrides` are Recipe fields and `lr_rule`: "linear" multiplies the recipe's learning rate with the change
        of the batch size (Goyal et al. 2017). Milestones keep their place in proportion when `epochs` is overridden
        without them, as MLKD's 480 epochs do with mdistiller's 240. Raises BadInput naming the field.
        """
        overrides = dict(overrides or {})
        rule = overrides.pop("lr_rule", "constant")
        if rule not in LR_RULES:
            raise BadInput(f"lr_rule {rule!r} is not one of {', '.join(LR_RULES)}", where=self._where(student))
        unknown = [key for key in overrides if key not in Recipe.model_fields]
        if unknown:
            near = difflib.get_close_matches(unknown[0], [*Recipe.model_fields, "lr_rule"], n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise BadInput(f"a recipe has no field {unknown[0]!r}{hint}", where=self._where(student))
        values = dict(self.values)
        if family in self.lr_by_family:
            values["lr"] = self.lr_by_family[family]
        try:
            base = Recipe(**values)
            recipe = Recipe(**(values | overrides))
            if "epochs" in overrides and "milestones" not in overrides:
                stretch = recipe.epochs / base.epochs
                moved = tuple(max(1, round(milestone * stretch)) for milestone in base.milestones)
                recipe = recipe.model_copy(update={"milestones": moved})
            if rule == "linear" and "lr" not in overrides:
                recipe = recipe.model_copy(update={"lr": base.lr * recipe.batch_size / base.batch_size})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise BadInput(
                f"{field} = {first['input']!r}: {first['msg'].lower()}", where=self._where(student)
            ) from error
        if recipe.augment not in AUGMENTS:
            near = difflib.get_close_matches(recipe.augment, AUGMENTS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"this version has {', '.join(AUGMENTS)}"
            raise BadInput(f"augmentation {recipe.augment!r}: not in this version, {hint}", where=self._where(student))
        return recipe

    def _where(self, student: str) -> str:
        return f"recipe {self.name} for {student}"


def names() -> list[str]:
    """All named recipes."""
    return sorted(file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml"))


def load_recipe(name: str) -> RecipeFile:
    """The recipe of that name. Raises UnknownName with a suggestion."""
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(known)
        raise UnknownName(f"unknown recipe {name!r}, {hint}")
    document = tomllib.loads(_folder().joinpath(f"{name}.toml").read_text(encoding="utf-8"))
    return RecipeFile(name, document["about"], document["recipe"], document.get("lr_by_family", {}))


def _folder() -> Traversable:
    return resources.files("kdharness.training.recipes")
