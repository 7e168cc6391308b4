"""Holds a study against the registries: every name, value and reference that cannot be meant, all at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdharness.core.analyses import WRITTEN, Analysis
from kdharness.core.errors import BadInput, Problem
from kdharness.results.records import ImportedTeacher
from kdharness.study.check_figures import check_figures
from kdharness.study.check_rows import check_row, check_values, known_recipe
from kdharness.study.check_search import check_prefix, check_search
from kdharness.study.check_tables import check_tables
from kdharness.study.document import Path as Place
from kdharness.study.findings import Findings
from kdharness.study.images import dataset_of, missing_images
from kdharness.study.load import Study
from kdharness.study.resolve import Pair, known_model, known_pair, label_of
from kdharness.study.rows import (
    PairText,
    Row,
    has_holes,
    long_form,
    pair_texts,
    rows,
    split_teachers,
    study_recipe,
)
from kdharness.study.spec import HOLE, Each, StudySpec
from kdharness.study.teachers import chosen_import, way_of

if TYPE_CHECKING:
    from kdharness.core.types import Dataset


def find_problems(study: Study, *, data: Path, imports: Sequence[ImportedTeacher] = ()) -> list[Problem]:
    """Everything in the study that this installation cannot mean, sorted by place.

    What is not here (a folder of images, an imported teacher) is no problem of the study. Opens no images, but looks
    into a folder of them.
    """
    spec, found = study.spec, Findings(study.document)
    known = [row for row in rows(spec) if check_row(row, spec, found)]
    pairs = _pairs(spec, found)
    dataset = _dataset(spec, data, found)
    _teachers(spec, pairs, dataset, imports, found)
    _study_recipe(spec, found)
    check_values(spec, known, list(pairs), dataset, found)
    holes = has_holes(spec)
    labels = _labels(rows(spec), holes, found)
    check_search(spec, list(pairs), known, found)
    _evaluate(spec, found)
    check_tables(spec, None if holes else labels, _axes(spec, known), found)
    check_figures(spec, None if holes else labels, list(pairs), _axes(spec, known), found)
    if dataset is not None and not found.problems:
        check_prefix(spec, list(pairs), known, dataset, found)
    if dataset is not None and not missing_images(dataset):
        _batch_sizes(spec, known, dataset, found)
    return sorted(found.problems)


def study_pairs(spec: StudySpec) -> list[Pair]:
    """The pairs of a checked study, each once."""
    texts = (f"{item.teacher} -> {item.student}" for item in pair_texts(spec) if isinstance(item, PairText))
    pairs = (known_pair(text, spec.dataset_name) for text in texts)
    return list(dict.fromkeys(pair for pair in pairs if pair is not None))


def _dataset(spec: StudySpec, data: Path, found: Findings) -> "Dataset | None":
    from kdharness.datasets.registry import DATASETS

    if spec.dataset == HOLE:
        return None
    if isinstance(spec.dataset, str) and spec.dataset not in DATASETS:
        found.unknown(("dataset",), "dataset", spec.dataset, [*DATASETS, "{folder: my-images.tar.xz}"])
        return None
    try:
        return dataset_of(spec, data)
    except BadInput as error:
        found.say(("dataset", "folder"), "; ".join(part for part in (error.what, error.remedy) if part))
        return None


def _pairs(spec: StudySpec, found: Findings) -> dict[Pair, Place]:
    from kdharness.models.registry import MODELS

    pairs: dict[Pair, Place] = {}
    for item in pair_texts(spec):
        if not isinstance(item, PairText):
            found.say(item, "a pair is `teacher -> student`, for example `resnet20 -> resnet8`")
            continue
        if "+" in item.student:
            found.say(item.place, f"a pair has one student, not `{item.student}`")
            continue
        names = [*split_teachers(item.teacher), item.student]
        listed = [known_model(name, spec.dataset_name) for name in names]
        for name, model in zip(names, listed, strict=True):
            if model is None:
                found.unknown(item.place, "model", name, MODELS)
        *teachers, student = [model for model in listed if model is not None]
        if len(listed) == len(teachers) + 1:
            pairs.setdefault(Pair(tuple(teachers), student), item.place)
    return pairs


def _teachers(
    spec: StudySpec,
    pairs: dict[Pair, Place],
    dataset: "Dataset | None",
    imports: Sequence[ImportedTeacher],
    found: Findings,
) -> None:
    ways: dict[Place, str] = {}
    models = {model for pair in pairs for model in pair.teachers}
    if isinstance(spec.teachers, str):
        ways[("teachers",)] = spec.teachers
    else:
        for name, way in spec.teachers.items():
            ways[("teachers", name)] = way
            if name != "default" and known_model(name, spec.dataset_name) not in models:
                found.unknown(("teachers", name), "teacher", name, {"default", *models}, key=True)
        lacking = models - {known_model(name, spec.dataset_name) for name in spec.teachers}
        if "default" not in spec.teachers and lacking:
            found.say(("teachers",), f"says nothing of {', '.join(sorted(lacking))}: add `default: train`")
    names = {one.name for one in imports}
    for place, way in ways.items():
        meant = [name for name in ("train", "imported") if way not in {name, *names} and _close(way, name)]
        if way != HOLE and meant:
            found.say(place, f"unknown teachers {way!r}, did you mean `{meant[0]}`?")
        elif dataset is not None and way not in ("train", HOLE):
            for model in (model for model in sorted(models) if way_of(spec, model) == way):
                try:
                    chosen_import(way, model, dataset.name, imports)
                except ValueError as error:
                    found.say(place, str(error))


def _close(text: str, name: str) -> bool:
    import difflib

    return bool(difflib.get_close_matches(text.lower(), [name], n=1, cutoff=0.7))


def _study_recipe(spec: StudySpec, found: Findings) -> None:
    change = study_recipe(spec)
    if change.base is not None:
        place: Place = ("recipe",) if isinstance(spec.recipe, str) else ("recipe", "from")
        known_recipe(change.base, place, found)


def _labels(all_rows: list[Row], holes: bool, found: Findings) -> list[str]:
    """Every label, after saying which are used twice and which `against` names none."""
    first: dict[str, Row] = {}
    for row in all_rows:
        label = label_of(row)
        twin = first.setdefault(label.casefold(), row)
        if twin is not row:
            line = found.document.at(twin.place)[0]
            remedy = "add a `label`" if row.entry.label is None else "labels are unique in a study"
            place = (*row.place, "label") if row.entry.label is not None else row.place
            found.say(place, f"a row is already called `{label}` (line {line}): {remedy}")
    labels = [label_of(row) for row in first.values()]
    for row in all_rows:
        against = row.entry.against
        if against is not None and against not in labels and not holes:
            found.unknown((*row.place, "against"), "row", against, labels)
        elif against is not None and against == label_of(row):
            found.say((*row.place, "against"), f"`{against}` cannot be compared with itself")
    return labels


def _axes(spec: StudySpec, known: list[Row]) -> set[str]:
    """The names of axes that a table may place: bare, and after the label of their row."""
    axes = {f"recipe.{name}" for name, value in study_recipe(spec).values.items() if isinstance(value, Each)}
    for row in known:
        own = {name for name, value in row.entry.values.items() if isinstance(value, Each)}
        change = long_form(row.entry.recipe)
        own |= {f"recipe.{name}" for name, value in change.values.items() if isinstance(value, Each)}
        own |= {name for part in row.entry.at.values() for name, value in part.items() if isinstance(value, Each)}
        axes |= own | {f"{label_of(row)}.{name}" for name in own}
    return axes


def _evaluate(spec: StudySpec, found: Findings) -> None:
    for index, text in enumerate(spec.evaluate):
        try:
            Analysis.parse(text)
        except BadInput:
            found.unknown(("evaluate", index), "analysis", text, WRITTEN)


def _batch_sizes(spec: StudySpec, known: list[Row], dataset: "Dataset", found: Findings) -> None:
    """A batch cannot be larger than what is trained on."""
    part = spec.search.validation if spec.search is not None else 0.0
    size = int(dataset.train_size * (1 - part))
    places: list[tuple[Place, Any]] = [(("recipe", "batch_size"), study_recipe(spec).values.get("batch_size"))]
    places += [
        ((*row.place, "recipe", "batch_size"), long_form(row.entry.recipe).values.get("batch_size")) for row in known
    ]
    for place, value in places:
        values = value.each if isinstance(value, Each) else [value]
        if any(isinstance(item, int) and item > size for item in values):
            found.say(place, f"a batch of more images than {dataset.name} trains on ({size})")
