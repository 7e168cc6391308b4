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

Augment = Literal[
    "none",
    "shift1",
    "crop4-flip",
    "crop4-flip-randaugment",
    "crop4-flip-autoaugment",
    "crop4-flip-trivialaugment",
    "rotate20-flip",
    "resized-crop-flip",
    "resized-crop-flip-randaugment-erasing",
]
AUGMENTS: tuple[str, ...] = get_args(Augment)
"""The names that `Recipe.augment` may have; `training.augmentation` holds what they do."""

STREAMED_AUGMENTS: tuple[str, ...] = ("none", "resized-crop-flip")
"""Those for images that are decoded when they are wanted; the others are for images in memory."""

LR_RULES = ("constant", "linear")


@dataclass(frozen=True)
class RecipeFile:
    """One named recipe before it meets a student."""

    name: str
    about: str
    values: Mapping[str, Any]
    lr_by_family: Mapping[str, float]
    """The learning rate for students of a family where it is not the recipe's."""
    teacher_recipe: str | None = None
    """By which teachers are trained for students of this recipe; None for the dataset's."""

    def resolve(
        self,
        student: str,
        family: str,
        overrides: Mapping[str, Any] | None = None,
        preset: Mapping[str, Any] | None = None,
    ) -> Recipe:
        """The recipe for a student (its name stands in messages only) of a model family.

        `preset` are the fields that a method's paper changes for the pair, learning rate of the family included.

        `overrides` are Recipe fields and `lr_rule`: "linear" multiplies the recipe's learning rate with the change of
        the batch size (Goyal et al. 2017), and with it the ends of a cosine and a warm-up. Milestones and warm-up keep
        their place in proportion when `epochs` is overridden without them. (MLKD's own 480 epochs keep the milestones
        of 240; its presets say so.) With `schedule` overridden the recipe's own milestones are gone. Raises BadInput
        naming the field.
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
        values |= preset or {}
        try:
            base = Recipe(**values)
            if overrides.get("schedule", base.schedule) != base.schedule:
                values = {key: value for key, value in values.items() if key not in ("milestones", "final_lr")}
            recipe = Recipe(**(values | overrides))
            if "epochs" in overrides:
                recipe = recipe.model_copy(update=_in_proportion(recipe, base, overrides))
            if rule == "linear" and "lr" not in overrides:
                rates = [name for name in ("lr", "final_lr", "warmup_lr") if name not in overrides]
                scaled = {name: getattr(base, name) * recipe.batch_size / base.batch_size for name in rates}
                recipe = recipe.model_copy(update=scaled)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            what = f"{field} = {first['input']!r}: " if field else ""
            raise BadInput(what + first["msg"].lower(), where=self._where(student)) from error
        for name in (recipe.augment, recipe.second_view):
            self._check_augment(name, student)
        return recipe

    def _check_augment(self, name: str | None, student: str) -> None:
        """Raises BadInput for a name that this version has not."""
        if name is None or name in AUGMENTS:
            return
        near = difflib.get_close_matches(name, AUGMENTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"this version has {', '.join(AUGMENTS)}"
        raise BadInput(f"augmentation {name!r}: not in this version, {hint}", where=self._where(student))

    def _where(self, student: str) -> str:
        return f"recipe {self.name} for {student}"


def _in_proportion(recipe: Recipe, base: Recipe, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Milestones and warm-up of a recipe made longer or shorter, but for those that are overridden too."""
    stretch = recipe.epochs / base.epochs
    moved: dict[str, Any] = {}
    if "milestones" not in overrides:
        moved["milestones"] = tuple(max(1, round(milestone * stretch)) for milestone in recipe.milestones)
    if "warmup_epochs" not in overrides:
        moved["warmup_epochs"] = round(recipe.warmup_epochs * stretch)
    return moved


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
    return RecipeFile(
        name,
        document["about"],
        document["recipe"],
        document.get("lr_by_family", {}),
        document.get("teacher_recipe"),
    )


def _folder() -> Traversable:
    return resources.files("kdharness.training.recipes")
