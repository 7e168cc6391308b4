"""`--smoke`: any study made so small that its whole path runs in a minute or two. A pure function, before planning.

What a table or a figure is made of stays: every row, its constants and axes, what is recorded, analysed and drawn. What
costs time goes: images, epochs, pairs, seeds, draws.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from kdharness.core.errors import StudyError
from kdharness.core.records import Smoke
from kdharness.study.check import find_problems, study_pairs
from kdharness.study.load import Study
from kdharness.study.resolve import Pair, distiller_of, known_model, known_pair, model_of
from kdharness.study.rows import Row, long_form, study_recipe
from kdharness.study.searching.schedule import epoch_constants
from kdharness.study.spec import (
    Choice,
    Each,
    Entry,
    FigurePart,
    Finalists,
    Group,
    IntRange,
    RecipeChange,
    SearchPart,
    StudySpec,
    TablePart,
)

DATASET, RECIPE = "digits-smoke", "smoke"
ELSEWHERE = "digits"
"""Where a linear probe goes that went to another dataset."""
IMAGES = 128
EPOCHS = 2
PAIRS = 2
DRAWS = 2
STAND_INS = (Pair(("resnet32x4",), "resnet8x4"), Pair(("vgg13",), "vgg8"))
"""For pairs with a network of larger images than CIFAR's."""
ASSISTANT = "resnet20"
"""Likewise for an assistant."""
CIFAR = 32
"""Pixels of a side."""

Part = TypeVar("Part", TablePart, FigurePart)

_LEFT_OUT = ("milestones", "warmup_epochs", "image_size", "teacher_image_size", "normalization")
"""What a study's recipe says of another schedule and of other images; as an axis it stays."""


def shrunk_name(name: str) -> str:
    """What the shrunk form of a study is called, so that the two never mix."""
    return f"{name[:58]}-smoke"


def shrink(study: Study, device: Literal["cpu", "cuda"] = "cpu") -> Study:
    """The study's shrunk form; where a table shows costs, they are those on the `device`.

    128 digits of 8x8 pixels, two epochs by one recipe for students, teachers and assistants, at most two pairs, one
    seed, two draws. The networks are real: a pair that was made for larger images gives way to one of CIFAR's. Raises
    StudyError where a name in the study means nothing.
    """
    problems = find_problems(study, data=Path())
    if problems:
        raise StudyError(study.path, problems)
    spec, pairs = study.spec, _pairs(study.spec)
    make = _Shrinking(spec, pairs, device)
    small = spec.model_copy(
        update={
            "study": shrunk_name(spec.study),
            "about": f"smoke form of {spec.study}: {spec.about}",
            "dataset": DATASET,
            "teachers": "train",
            "recipe": make.recipe(study_recipe(spec), RECIPE),
            "pairs": [pair.label for pair in pairs.values()],
            "distillers": [make.row(item) for item in spec.distillers],
            "search": make.search(spec.search) if spec.search is not None else None,
            "seeds": spec.seed_list[:1],
            "execution": spec.execution.model_copy(update={"compile": False}),
            "evaluate": list(
                dict.fromkeys(re.sub("transfer to .+", f"transfer to {ELSEWHERE}", text) for text in spec.evaluate)
            ),
            "tables": [make.table(table) for table in spec.tables],
            "figures": make.figures(spec.figures),
        }
    )
    stand_ins = {new.label: old.label for old, new in pairs.items() if new != old}
    return replace(study, spec=small, smoke=Smoke(study=spec.study, dataset=spec.dataset_title, pairs=stand_ins))


def _pairs(spec: StudySpec) -> dict[Pair, Pair]:
    """The pairs that stay, each with what stands for it: itself where its networks are for CIFAR's images."""
    first = study_pairs(spec)[:PAIRS]
    free = [pair for pair in STAND_INS if pair not in first]
    return {pair: pair if all(map(_is_small, (*pair.teachers, pair.student))) else free.pop(0) for pair in first}


def _is_small(model: str) -> bool:
    return model_of(model).native == CIFAR


@dataclass(frozen=True)
class _Shrinking:
    """The parts of one study, shrunk."""

    spec: StudySpec
    pairs: Mapping[Pair, Pair]
    device: str

    @property
    def images(self) -> int:
        """That a run trains on at most."""
        return int(IMAGES * (1 - self.spec.search.validation)) if self.spec.search is not None else IMAGES

    def recipe(self, change: RecipeChange, base: str | None) -> RecipeChange:
        """The change of a recipe with few epochs and batches no larger than the set; of the recipe `base`."""
        values: dict[str, Any] = {"from": base, "epochs": EPOCHS} if base is not None else {}
        for name, value in change.values.items():
            if name == "epochs":
                values[name] = _few(value, EPOCHS)
            elif name == "batch_size":
                values[name] = _at_most(value, self.images)
            elif name not in _LEFT_OUT or isinstance(value, Each | Choice):
                values[name] = value
        return RecipeChange.model_validate(values | ({"lr_rule": change.lr_rule} if change.lr_rule else {}))

    def row(self, item: str | Entry | Group) -> str | Entry | Group:
        if isinstance(item, Group):
            return item.model_copy(update={"of": [self.entry(one) for one in item.of]})
        return self.entry(item)

    def entry(self, item: str | Entry) -> Entry:
        """The row with its own constants, but phases of one epoch."""
        entry = Entry(name=item) if isinstance(item, str) else item
        phases = {name for name, _, mark in epoch_constants(distiller_of(Row(0, (), entry)).Config) if mark.is_phase}

        def constants(values: Mapping[str, Any]) -> dict[str, Any]:
            return {name: _few(value, 1) if name in phases else value for name, value in values.items()}

        changes = constants({**dict.fromkeys(phases, 1), **entry.values})
        changes["at"] = {
            self.pairs[pair].label: constants(values)
            for text, values in entry.at.items()
            if (pair := known_pair(text, self.spec.dataset_name)) in self.pairs and pair is not None
        }
        if entry.recipe is not None:
            own = long_form(entry.recipe)
            changes["recipe"] = self.recipe(own, RECIPE if own.base is not None else None)
        if entry.through is not None:
            named = [known_model(name, self.spec.dataset_name) or name for name in entry.through]
            changes["through"] = [name if _is_small(name) else ASSISTANT for name in named]
        return entry.model_copy(update=changes)

    def search(self, search: SearchPart) -> SearchPart:
        """Two draws, trained whole or by the same rungs; no pruning, which two epochs are too short for."""
        finalists = search.finalists and Finalists(keep=min(DRAWS, search.finalists.keep), seeds=1)
        return search.model_copy(
            update={
                "pairs": search.pairs if isinstance(search.pairs, str) else self._named(search.pairs),
                "draws": min(DRAWS, search.draws),
                "finalists": finalists,
                "prefix": None,
            }
        )

    def _named(self, texts: Sequence[str]) -> list[str]:
        """What stands for the pairs that stayed; for the first of the study where none of them did."""
        named = [known_pair(text, self.spec.dataset_name) for text in texts]
        stayed = [self.pairs[pair] for pair in named if pair is not None and pair in self.pairs]
        return [pair.label for pair in stayed or list(self.pairs.values())[:1]]

    def table(self, part: TablePart) -> TablePart:
        metrics = list(dict.fromkeys(map(self._metric, part.metrics)))
        metric = metrics[0] if isinstance(part.metric, str) else metrics
        return _titled(part.model_copy(update={"metric": metric, "costs": list(map(self._metric, part.costs))}))

    def figures(self, parts: Sequence[FigurePart]) -> list[FigurePart]:
        """A figure of a pair that is gone shows the first; what is then there twice is drawn once."""
        found: list[FigurePart] = []
        for part in parts:
            changes: dict[str, Any] = {"seed": None}
            changes |= {key: self._metric(name) for key in ("x", "y") if (name := getattr(part, key)) is not None}
            if part.pair is not None:
                changes["pair"] = self._named([part.pair])[0]
            small = _titled(part.model_copy(update=changes))
            found += [small] if small not in found else []
        return found

    def _metric(self, name: str) -> str:
        """A probe's of the set that it goes to, a cost's of the device; of a CPU no memory is known, but the time."""
        name = re.sub("transfer_.+_top1", f"transfer_{ELSEWHERE}_top1", name)
        cost = re.fullmatch("(.*(?:step|batch)_)(ms|memory_mib)_.+", name)
        return f"{cost[1]}{'ms' if self.device == 'cpu' else cost[2]}_{self.device}" if cost is not None else name


def _titled(part: Part) -> Part:
    return part.model_copy(update={"title": f"{part.title} (smoke)"}) if part.title is not None else part


def _few(value: Any, plain: int) -> Any:
    """Epochs: `plain`, and of several values 1, 2, ... in their order."""
    if isinstance(value, Each | Choice):
        values: list[Any] = value.each if isinstance(value, Each) else value.choice
        ranks: list[Any] = [sorted(set(values)).index(one) + 1 for one in values]
        return Each(each=ranks) if isinstance(value, Each) else Choice(choice=ranks)
    return IntRange.model_validate({"int": [1, EPOCHS]}) if isinstance(value, IntRange) else plain


def _at_most(value: Any, most: int) -> Any:
    """Images of a batch: no more than there are; values that become the same are one."""
    if isinstance(value, Each | Choice):
        values: list[Any] = value.each if isinstance(value, Each) else value.choice
        kept = list(dict.fromkeys(min(one, most) for one in values))
        return Each(each=kept) if isinstance(value, Each) else Choice(choice=kept)
    if isinstance(value, IntRange):
        low, high = value.bounds
        return IntRange.model_validate({"int": [min(low, most // 2), min(high, most)], "log": value.log})
    return min(value, most)
