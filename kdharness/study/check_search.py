"""The `search` part of a study: what it may maximise, on which pairs, who teaches in it, and what it may shorten."""

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from kdharness.study.check_rows import range_places
from kdharness.study.findings import Findings
from kdharness.study.resolve import (
    RECIPE,
    Pair,
    Resolved,
    Template,
    any_values,
    distiller_of,
    known_pair,
    settle,
    template,
    value_of,
)
from kdharness.study.rows import Row, split_pair
from kdharness.study.searching.schedule import epoch_constants, scaled
from kdharness.study.spec import Choice, StudySpec

if TYPE_CHECKING:
    from kdharness.core.types import Dataset

SEARCH_METRICS = ("val_top1_last", "val_top5_last")


def check_search(spec: StudySpec, pairs: list[Pair], known: list[Row], found: Findings) -> None:
    """Say what of the search cannot be meant."""
    search = spec.search
    if search is None:
        return
    if not range_places(spec, known):
        found.say(("search",), "no row has a range: nothing to search", key=True)
    labels = {pair.label for pair in pairs}
    for index, text in enumerate(() if search.pairs == "each" else search.pairs):
        sides = split_pair(text)
        if sides is None or known_pair(text, spec.dataset_name) not in pairs:
            found.unknown(("search", "pairs", index), "pair", text, labels)
    if search.maximize.startswith("test"):
        found.say(
            ("search", "maximize"),
            f"`{search.maximize}` is refused: a search never sees test images, maximize val_top1_last",
        )
    elif search.maximize not in SEARCH_METRICS:
        found.unknown(("search", "maximize"), "metric", search.maximize, SEARCH_METRICS)
    if search.teachers == "imported":
        found.say(
            ("search", "teachers"),
            "imported teachers have seen the validation images, on which they would overstate the student: the search "
            "trains its own",
        )
    elif search.teachers != "train":
        found.unknown(("search", "teachers"), "teachers", search.teachers, ["train"])
    if search.prefix is not None and search.sampler == "nsga2":
        found.say(("search", "prefix"), "pruning compares one number, `nsga2` two: leave one of them out", key=True)
    if search.prefix is not None and search.rungs is None and not found.document.holds(("search", "rungs")):
        found.say(("search", "prefix"), "`prefix` prunes at `rungs`: name them, as [3/4, 7/8, 1]", key=True)


def check_prefix(spec: StudySpec, pairs: list[Pair], known: list[Row], dataset: "Dataset", found: Findings) -> None:
    """Refuse to prune before the end of a warm-up or the first drop of the learning rate; of a study that is sound."""
    search = spec.search
    if search is None or search.prefix is None or search.rungs is None:
        return
    for row in known:
        for pair in pairs:
            made = template(spec, row, pair, dataset, lambda place: found.document.at(place)[0])
            if not made.ranges:
                continue
            resolved = settle(made, _slowest(made))
            for index, text in enumerate(search.rungs[:-1]):
                epoch = scaled(resolved.recipe.epochs, Fraction(text))
                early = _too_early(resolved, epoch)
                if early:
                    said = f"`{made.label}` would be judged after epoch {epoch} of {resolved.recipe.epochs}, {early}"
                    found.say(("search", "rungs", index), f"{said}; without `prefix` the whole schedule is shortened")


def _slowest(made: Template) -> dict[str, Any]:
    """The values of the ranges with which warm-ups end last in the shortest schedule."""
    chosen = any_values(made)
    late = {name for name, _, _ in epoch_constants(distiller_of(made.row).Config)} | {RECIPE + "warmup_epochs"}
    for name, value in made.ranges.items():
        values: list[Any] = value.choice if isinstance(value, Choice) else list(value.bounds)
        if name in late:
            chosen[name] = max(values)
        elif name == RECIPE + "epochs":
            chosen[name] = min(values)
    return chosen


def _too_early(resolved: Resolved, epoch: int) -> str:
    """What comes only after the epoch."""
    warmups = {RECIPE + "warmup_epochs": resolved.recipe.warmup_epochs}
    for name, _, mark in epoch_constants(type(resolved.config)):
        if not mark.is_phase:
            warmups[name] = value_of(resolved, name)
    name, end = max(warmups.items(), key=lambda item: item[1])
    if epoch < end:
        return f"before the end of its warm-up (`{name}` {end})"
    if resolved.recipe.milestones and epoch <= resolved.recipe.milestones[0]:
        return f"before the first drop of the learning rate (after epoch {resolved.recipe.milestones[0]})"
    return ""
