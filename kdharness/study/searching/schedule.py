"""Shorter schedules: the whole of one in less time, its epochs, milestones and warm-ups scaled alike.

A prefix of a long schedule says little of its end: methods warm up for 20 epochs, and the learning rate drops at 150.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from pydantic import BaseModel

from kdharness.study.resolve import Constant, Resolved, constants_of


def scaled(epochs: int, part: Fraction) -> int:
    """So many epochs of a schedule in a `part` of its time, halves rounded up; at least 1, and 0 for 0."""
    return max(1, int(epochs * part + Fraction(1, 2))) if epochs else 0


def shortened(resolved: Resolved, part: Fraction) -> Resolved:
    """The same row on a `part` of its schedule; itself on the whole."""
    if part == 1:
        return resolved
    recipe = resolved.recipe
    schedule = {
        "epochs": scaled(recipe.epochs, part),
        "milestones": tuple(scaled(epoch, part) for epoch in recipe.milestones),
        "warmup_epochs": scaled(recipe.warmup_epochs, part),
    }
    config: BaseModel = resolved.config
    for _, constant, _ in epoch_constants(type(config)):
        holder = getattr(config, constant.member) if constant.member else config
        changed = {constant.field: scaled(getattr(holder, constant.field), part)}
        config = config.model_copy(
            update={constant.member: holder.model_copy(update=changed)} if constant.member else changed
        )
    return Resolved(config, recipe.model_copy(update=schedule), resolved.provenance)


def epoch_constants(config: type[BaseModel]) -> Iterator[tuple[str, Constant, Any]]:
    """The constants that count epochs, by the names that a study gives them, each with its mark."""
    from kdharness.core.types import Epochs

    for name, constant in constants_of(config).items():
        for mark in constant.config.model_fields[constant.field].metadata:
            if isinstance(mark, Epochs):
                yield name, constant, mark
