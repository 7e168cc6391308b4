"""A study's rows and pairs as a list each, with their places in the file. Pure form: no name is looked up."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kdharness.study.document import Path as Place
from kdharness.study.spec import HOLE, Entry, Group, Product, RecipeChange, StudySpec

_ARROW = re.compile(r"\s*->\s*")


@dataclass(frozen=True)
class Row:
    """One entry under `distillers`."""

    number: int
    """From 0, over groups."""
    place: Place
    entry: Entry
    group: str | None = None

    @property
    def parts(self) -> list[str]:
        """The distillers it names: several for a sum."""
        return [part.strip() for part in self.entry.name.split("+")]


def has_holes(spec: StudySpec) -> bool:
    """Whether a row could not be read, so that names of rows may be missing."""
    return any(item == HOLE or (isinstance(item, Group) and HOLE in item.of) for item in spec.distillers)


@dataclass(frozen=True)
class PairText:
    """One pair as written."""

    place: Place
    teacher: str
    student: str


def rows(spec: StudySpec) -> list[Row]:
    """The entries in the file's order, groups opened."""
    found: list[Row] = []

    def add(place: Place, item: str | Entry, group: str | None) -> None:
        if item != HOLE:
            entry = Entry(name=item) if isinstance(item, str) else item
            found.append(Row(len(found), place, entry, group))

    for index, item in enumerate(spec.distillers):
        if isinstance(item, Group):
            for inner, member in enumerate(item.of):
                add(("distillers", index, "of", inner), member, item.group)
        else:
            add(("distillers", index), item, None)
    return found


def pair_texts(spec: StudySpec) -> list[PairText | Place]:
    """The pairs in the file's order, products multiplied out; the bare place of what is no `teacher -> student`."""
    items: list[tuple[Place, str | Product]]
    if isinstance(spec.pairs, Product):
        items = [(("pairs",), spec.pairs)]
    else:
        items = [(("pairs", index), item) for index, item in enumerate(spec.pairs)]
    return [pair for place, item in items if item != HOLE for pair in _pairs(place, item)]


def _pairs(place: Place, item: str | Product) -> Iterator[PairText | Place]:
    if isinstance(item, Product):
        for row, teacher in enumerate(item.teachers):
            for student in item.students:
                if HOLE not in (teacher, student):
                    yield PairText((*place, "teachers", row), teacher, student)
        return
    sides = split_pair(item)
    yield PairText(place, *sides) if sides else place


def split_pair(text: str) -> tuple[str, str] | None:
    """Teacher and student of `teacher -> student`, None where it is not of that form."""
    sides = _ARROW.split(text.strip())
    return (sides[0], sides[1]) if len(sides) == 2 and all(sides) else None


def split_teachers(text: str) -> list[str]:
    """The members of `resnet32x4 + wrn_40_2`, an ensemble; one teacher alone."""
    return [name.strip() for name in text.split("+")]


def study_recipe(spec: StudySpec) -> RecipeChange:
    """The study's recipe in its long form."""
    return long_form(spec.recipe)


def long_form(recipe: str | RecipeChange | None) -> RecipeChange:
    """`cifar100-240` means `{from: cifar100-240}`."""
    if isinstance(recipe, RecipeChange):
        return recipe
    return RecipeChange.model_validate({} if recipe is None else {"from": recipe})
