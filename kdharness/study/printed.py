"""A study out of a printed table: its pairs, its methods with the paper's constants, its recipe, its trials."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdharness.core.errors import BadInput
from kdharness.reporting.methods import printed_method
from kdharness.reporting.published.values import Printed, Registry

RECIPES = {"cifar100": "cifar100-240", "imagenet": "imagenet-100", "tiny_imagenet": "tiny-imagenet-200"}
"""The recipe of the field for a printed dataset: those that can be trained here."""

TRANSFORMERS = ("deit_tiny", "pit_tiny", "pvt_tiny", "pvtv2_b0", "t2t_vit_7")
"""Students of another recipe, whose ResNet-56 is pycls's."""

TRAINED_TEACHERS = ("wrn_28_2", "wrn_16_4", "wrn_28_4")
"""Teachers of the papers that nobody released."""

SEEDS = 3
"""Where the source does not say how many trials its numbers are over."""

_STANDARDIZE = {"none": "none", "zscore": "zscore", "mean_shift": "mean", "std_only": "std"}


@dataclass(frozen=True)
class Row:
    """One row of the study with the number that is printed for it, by pair."""

    label: str
    entry: Mapping[str, Any]
    printed: Mapping[str, Printed]


@dataclass(frozen=True)
class PrintedStudy:
    """The text of a study and what it is to reproduce."""

    name: str
    text: str
    pairs: tuple[str, ...]
    """As the text has them."""
    rows: tuple[Row, ...]


def studies_of(
    registry: Registry, key: str, cells: Sequence[str] = (), teachers: str = "imported"
) -> tuple[list[PrintedStudy], list[str]]:
    """The studies that train exactly the table's cells, and what of it cannot be trained here.

    Pairs for which the same methods are printed share a study. `cells` choose by `METHOD`, `TEACHER -> STUDENT` or
    `METHOD: TEACHER -> STUDENT`. Raises BadInput for an unknown table or cell, and where nothing can be trained.
    """
    values = [one for one in registry.table(key) if one.metric == "top1" and one.method != "teacher"]
    datasets = {one.dataset for one in values if one.dataset in RECIPES}
    if len(datasets) != 1:
        said = sorted({one.dataset for one in registry.table(key)})
        raise BadInput(f"{key} cannot be trained here: top-1 accuracies of {', '.join(said)}")
    (dataset,) = datasets
    left_out: list[str] = []
    rows = [row for row in _rows(registry, values, left_out) if row.printed]
    rows = [Row(row.label, row.entry, chosen) for row in rows if (chosen := _chosen(row, cells))]
    if not rows:
        raise BadInput(f"{key} has no such cell: {', '.join(cells) or 'nothing that can be trained'}")
    together: dict[tuple[str, ...], list[str]] = {}
    for pair in dict.fromkeys(pair for row in rows for pair in row.printed):
        together.setdefault(tuple(row.label for row in rows if pair in row.printed), []).append(pair)
    parts = list(together.items())
    parts = [(labels, some) for labels, pairs in parts for some in _by_recipe(pairs) if some]
    made = []
    select = "best" if registry.sources[values[0].source].selection == "best" else "last"
    for number, (labels, pairs) in enumerate(parts, 1):
        name = _slug(key) + (f"-{number}" if len(parts) > 1 else "")
        here = tuple(
            Row(row.label, row.entry, {p: row.printed[p] for p in pairs}) for row in rows if row.label in labels
        )
        made.append(
            PrintedStudy(name, _text(name, key, dataset, pairs, here, values, teachers, select), tuple(pairs), here)
        )
    return made, left_out


def _rows(registry: Registry, values: Sequence[Printed], left_out: list[str]) -> Iterator[Row]:
    """One row a method; where a table prints several settings of it for one pair, one row for each."""
    students = {one.student: one for one in values if one.method == "student"}
    pairs = list(dict.fromkeys((one.teacher, one.student) for one in values if one.teacher))
    alone = {f"{_teacher(*pair)} -> {pair[1]}": students[pair[1]] for pair in pairs if pair[1] in students}
    if alone:
        yield Row("Student", {"name": "none"}, alone)
    for method in dict.fromkeys(one.method for one in values if one.method != "student"):
        entry = _entry(method)
        if entry is None:
            left_out.append(f"{printed_method(method)}: no method here has that name")
            continue
        own = [one for one in values if one.method == method and one.teacher]
        counts = {(one.teacher, one.student): 0 for one in own}
        for one in own:
            counts[one.teacher, one.student] += 1
        groups: dict[str, list[Printed]] = {}
        for one in own:
            several = counts[one.teacher, one.student] > 1
            groups.setdefault(json.dumps(_constants(one), sort_keys=True) if several else "", []).append(one)
        varied = [json.loads(form) if form else {} for form in groups]
        for constants, group in zip(varied, groups.values(), strict=True):
            said = ", ".join(
                f"{name}={value}" if isinstance(value, str) else f"{name}={value:g}"
                for name, value in constants.items()
                if len({other.get(name) for other in varied}) > 1
            )
            label = printed_method(method) + (f" ({said})" if said else "")
            full = {**({"name": entry["name"]} if constants else entry), **constants, **_recipe(group)}
            usable = {
                f"{_teacher(one.teacher, one.student)} -> {one.student}": one
                for one in group
                if registry.is_usable(one)
            }
            left_out += [
                f"{label}: {one.teacher} -> {one.student} is contradicted in print"
                for one in group
                if not registry.is_usable(one)
            ]
            yield Row(label, full, usable)


def _entry(method: str) -> dict[str, Any] | None:
    """The entry of a study that means the method; None for one that this installation lacks."""
    from kdharness.distillers.registry import DISTILLERS

    base = method.removesuffix("+ls")
    parts = [{"lg": "locality"}.get(part, part) for part in base.split("+")]
    if any(part not in DISTILLERS for part in parts):
        return None
    entry = {"name": " + ".join(parts)}
    return {**entry, "preset": "sun2024logit"} if base != method else entry


def _constants(one: Printed) -> dict[str, Any]:
    """The constants of a printed ablation under our names."""
    names = {"temperature": "temperature", "lambda_kd": "kd_weight", "lambda_ce": "ce_weight"}
    found = {ours: one.setting[theirs] for theirs, ours in names.items() if theirs in one.setting}
    if one.setting.get("preprocess") in _STANDARDIZE:
        found["standardize"] = _STANDARDIZE[one.setting["preprocess"]]
    return found


def _recipe(group: Sequence[Printed]) -> dict[str, Any]:
    """What the whole row was trained with otherwise than the table's recipe says."""
    changes: dict[str, Any] = {}
    epochs = {one.setting.get("epochs") for one in group}
    if epochs == {480}:
        changes |= {"epochs": 480, "milestones": [150, 180, 210]}  # the drops stay where those of 240 epochs are
    if all(one.setting.get("augment") == "autoaugment" for one in group):
        changes["augment"] = "crop4-flip-autoaugment"
    return {"recipe": changes} if changes else {}


def _teacher(teacher: str, student: str) -> str:
    return "pycls_resnet56" if student in TRANSFORMERS and teacher == "resnet56" else teacher.replace("+", " + ")


def _chosen(row: Row, cells: Sequence[str]) -> dict[str, Printed]:
    """The row's cells that are asked for; all of them where none is named."""

    def plain(text: str) -> str:
        return "".join(text.casefold().split())

    wanted = {plain(cell) for cell in cells}
    names = {plain(row.label), *(plain(one.method) for one in row.printed.values())}
    return {
        pair: one
        for pair, one in row.printed.items()
        if not wanted or wanted & (names | {plain(pair)} | {f"{name}:{plain(pair)}" for name in names})
    }


def _by_recipe(pairs: Sequence[str]) -> tuple[list[str], list[str]]:
    """The pairs of transformers apart from the others: they have a recipe of their own."""
    return (
        [pair for pair in pairs if pair.rpartition(" ")[2] not in TRANSFORMERS],
        [pair for pair in pairs if pair.rpartition(" ")[2] in TRANSFORMERS],
    )


def _text(
    name: str,
    key: str,
    dataset: str,
    pairs: Sequence[str],
    rows: Sequence[Row],
    values: Sequence[Printed],
    teachers: str,
    select: str,
) -> str:
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString as Quoted

    recipe = "cifar100-vit-300" if pairs[0].rpartition(" ")[2] in TRANSFORMERS else RECIPES[dataset]
    trials = [one.n for one in values if one.n]
    unreleased = {model for model in TRAINED_TEACHERS if any(pair.startswith(f"{model} ") for pair in pairs)}
    ways = {"default": teachers, **dict.fromkeys(sorted(unreleased), "train")}
    study = {
        "study": name,
        "about": f"{key}, from its printed numbers",
        "dataset": dataset.replace("_", "-"),
        "teachers": ways if unreleased and teachers != "train" else teachers,
        "recipe": recipe,
        "pairs": list(pairs),
        "distillers": [{**row.entry, "label": Quoted(row.label)} for row in rows],
        "seeds": max(trials) if trials else SEEDS,
        "tables": [{"published": key, "select": select}],
    }
    return _yaml(study)


def _yaml(value: Mapping[str, Any]) -> str:
    import io

    from ruamel.yaml import YAML

    out = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 118
    yaml.dump(dict(value), out)
    return out.getvalue()


def _slug(key: str) -> str:
    return "verify-" + re.sub(r"[^a-z0-9]+", "-", key.casefold()).strip("-")[:50]
