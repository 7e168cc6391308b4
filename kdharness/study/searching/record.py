"""What decides the course of a search. It is kept with the draws, so that a report needs no study file."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field

from kdharness.core.keys import Frozen
from kdharness.study.spec import Range, SearchPart

Sampler = Literal["tpe", "random", "gp", "cmaes", "nsga2"]


class SearchRecord(Frozen):
    """One search: of one row, at one point of its axes, on its pairs."""

    label: str
    """The row's."""
    axes: Mapping[str, Any]
    pairs: tuple[str, ...]
    sampler: Sampler
    settings: Mapping[str, Any]
    """The sampler's, written out: another version of Optuna may have other defaults."""
    generation: Annotated[int, Field(ge=1)]
    draws: Annotated[int, Field(ge=1)]
    maximize: str
    validation: float
    validation_images: int
    ranges: Mapping[str, Range]
    paper: Mapping[str, Any]
    """What the constants would be without ranges, brought into them; those without a default are not in it."""
    seeds: tuple[int, ...]
    """The first is the search's; finalists are trained again with the others."""
    keep: Annotated[int, Field(ge=1)] = 1
    """How many finalists."""
    rungs: tuple[str, ...] = ("1",)
    """The parts of the whole schedule that draws are trained for; the last is the whole."""
    prefix: Literal["median", "hyperband"] | None = None
    """Who prunes runs of the whole schedule at the rungs, instead of shorter schedules."""

    @property
    def fractions(self) -> tuple[Fraction, ...]:
        """The schedules of the runs: one where prefixes are pruned."""
        return (Fraction(1),) if self.prefix is not None else tuple(map(Fraction, self.rungs))

    @property
    def places(self) -> dict[str, str]:
        """By pair what is appended to the search's name for its draws: nothing where there is one pair."""
        return {pair: "" if len(self.pairs) == 1 else f" {pair}" for pair in self.pairs}

    @property
    def trained_at(self) -> list[int]:
        """How many draws are trained at each rung: `survivors` of all."""
        return survivors(self.draws, self.fractions)


def trainings(search: SearchPart) -> int:
    """Of one search on one pair, at most: its draws on all their schedules, and the repeats of its finalists."""
    rungs = [Fraction(text) for text in search.rungs or ("1",)] if search.prefix is None else [Fraction(1)]
    repeats = min(search.finalists.keep, search.draws) * search.finalists.seeds if search.finalists is not None else 0
    return sum(survivors(search.draws, rungs)) + repeats


def survivors(draws: int, rungs: Sequence[Fraction]) -> list[int]:
    """How many of so many draws are trained at each rung: at one k times as long, a k-th of those before, at least one.

    Successive halving (Karnin et al. 2013; Jamieson and Talwalkar 2016): every rung costs about the same.
    """
    kept = [draws]
    for shorter, longer in pairwise(rungs):
        kept.append(max(1, int(kept[-1] * shorter / longer)))
    return kept
