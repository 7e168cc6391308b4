"""The methods as a list: whose they are, what they compare, what they ask for, whose numbers they equal."""

import re
from contextlib import suppress
from dataclasses import dataclass

import torch

from kdharness.core.errors import IncompatiblePair
from kdharness.core.streams import seeded
from kdharness.core.types import BuildContext, Distiller
from kdharness.distillers.registry import DISTILLERS
from kdharness.models.registry import MODELS

NUM_CLASSES, IMAGE_SHAPE = 10, (3, 8, 8)
STUDENT, TEACHER = "resnet8", "resnet14"
"""Small networks that adapters are built for, because what a method reads may depend on the networks."""


@dataclass(frozen=True)
class ListedDistiller:
    """One line of the list."""

    name: str
    paper: str
    family: str
    """logits, features, relations or control."""
    needs: tuple[str, ...]
    """Of the engine, besides both networks' logits."""
    equals: str | None
    """The code whose numbers it equals in the golden tests, None where none is public or the class does not say."""
    no_public_code: bool
    preset: str | None
    """Where its constants come from if the study names no other."""

    @property
    def short_paper(self) -> str:
        """`Zhao et al., CVPR 2022`"""
        *authors, venue = self.paper.split(", ")
        if len(authors) > 2:
            return f"{authors[0]} et al., {venue}"
        return self.paper

    @property
    def status(self) -> str:
        """`mdistiller a08d46f`: the first code that it equals, without its files; or why there is none."""
        if self.equals is not None:
            return re.split("[,;]", self.equals)[0]
        return "no public code" if self.no_public_code else "not stated"


def list_distillers() -> list[ListedDistiller]:
    """Every registered method, the plug-ins' too, by name within its family."""
    found = [_listed(name, DISTILLERS.get(name)) for name in DISTILLERS]
    families = ("control", "logits", "features", "relations")
    return sorted(found, key=lambda one: (families.index(one.family), one.name))


def _listed(name: str, method: type[Distiller]) -> ListedDistiller:
    paper, *claim = re.split(r"\. (?=Equals |No public code)", method.paper, maxsplit=1)
    equals = claim[0].removeprefix("Equals ").rstrip(".") if claim and claim[0].startswith("Equals ") else None
    return ListedDistiller(
        name=name,
        paper=paper.rstrip("."),
        family=method.family,
        needs=needs_in_words(method),
        equals=equals,
        no_public_code=bool(claim) and equals is None,
        preset=method.preset,
    )


def needs_in_words(method: type[Distiller]) -> tuple[str, ...]:
    """What it needs besides logits, for its default constants."""
    distiller = method(method.Config())
    with seeded("listing"):
        student, teacher = (MODELS.get(model).build(NUM_CLASSES, IMAGE_SHAPE) for model in (STUDENT, TEACHER))
        context = BuildContext(NUM_CLASSES, NUM_CLASSES, IMAGE_SHAPE, torch.arange(NUM_CLASSES))
        with suppress(IncompatiblePair):  # what it needs is then said without its layers
            distiller.build(student, student if distiller.needs.teacher == "none" else teacher, context)
    needs = distiller.needs
    said = {
        "no teacher": needs.teacher == "none",
        "a peer": needs.peer,
        "feature maps": bool(needs.stages or needs.teacher_stages),
        "the teacher's blocks": needs.tails,
        "two views": needs.views == 2,
        "train labels": needs.train_labels,
        "teacher in train mode": needs.teacher_mode == "train",
        "phases before": bool(distiller.phases()),
    }
    return tuple(words for words, asked in said.items() if asked)
