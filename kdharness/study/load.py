"""Read a study file: its text, its form, and every problem with a place in the file."""

import copy
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from kdharness.core.errors import BadInput, Problem, StudyError
from kdharness.core.records import Smoke
from kdharness.study.document import Document, read_document
from kdharness.study.document import Path as Place
from kdharness.study.spec import HOLE, PARTS, Choice, Each, FloatRange, Group, IntRange, StudySpec

MAX_PROBLEMS = 100
_TAGGED: dict[str, type[BaseModel]] = {
    "<each>": Each,
    "<float>": FloatRange,
    "<int>": IntRange,
    "<choice>": Choice,
    "<group>": Group,
}
_REQUIRED = {"study": "unnamed", "dataset": HOLE, "teachers": "train", "pairs": [HOLE], "distillers": [HOLE]}


@dataclass(frozen=True)
class Study:
    """A study file that has the form of one. Its names are checked by `kdharness.study.check`."""

    path: str
    """As the user wrote it."""
    text: str
    spec: StudySpec
    document: Document
    smoke: Smoke | None = None
    """Where `spec` is not the file's, but its shrunk form."""

    @property
    def name(self) -> str:
        return self.spec.study


def load_study(path: Path) -> Study:
    """The study in the file.

    A sound file is only parsed. In one that is not, the names are checked too, so that every problem is told at once.
    Raises StudyError, and BadInput where the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"cannot be read: {error.strerror}", where=str(path), remedy="kdharness init writes a study file"
        ) from error
    return parse_study(data, str(path))


def parse_study(data: bytes, path: str) -> Study:
    """As `load_study`, from the file's bytes."""
    document = read_document(data)
    problems = list(document.problems)
    value = document.value
    if not isinstance(value, dict):
        if not problems:
            line, column = document.at(())
            problems.append(
                Problem(line, column, "a study file is a mapping: `study: my-study`, `dataset: digits`, ...")
            )
        raise StudyError(path, problems[:MAX_PROBLEMS])
    value = {key: item for key, item in value.items() if not key.startswith("\0") and key != "<<"}
    spec, found = _read(value, document)
    problems += found
    text = data.decode("utf-8-sig")
    if not problems and spec is not None:
        return Study(path, text, spec, document)
    if spec is not None:
        from kdharness.study.check import find_problems

        problems += find_problems(Study(path, text, spec, document), data=Path())
    raise StudyError(path, list(dict.fromkeys(sorted(problems)))[:MAX_PROBLEMS])


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say after "unknown ...": the nearest known name, or all of them."""
    names = {item.lower(): item for item in known}
    near = difflib.get_close_matches(name.lower(), list(names), n=1)
    return f"did you mean `{names[near[0]]}`?" if near else "known: " + (", ".join(sorted(names.values())) or "none")


def show(value: Any) -> str:
    """A value as it may stand in a message: one line, not long."""
    text = {True: "true", False: "false", None: "null"}.get(value) if isinstance(value, bool | None) else repr(value)
    text = " ".join((text or "").split())
    return text if len(text) <= 60 else text[:57] + "..."


def _read(value: dict[str, Any], document: Document) -> tuple[StudySpec | None, list[Problem]]:
    """The spec and its problems of form; with problems, the spec of what is left without the parts that have them."""
    try:
        return StudySpec.model_validate(value), []
    except ValidationError as error:
        first = error
    problems = [_problem(detail, document) for detail in first.errors(include_url=False)]
    left, errors = copy.deepcopy(value), first
    for _ in range(20):
        for detail in errors.errors(include_url=False, include_input=False):
            _cut(left, detail)
        for key, stand_in in _REQUIRED.items():
            left.setdefault(key, stand_in)
        try:
            return StudySpec.model_validate(left), problems
        except ValidationError as error:
            errors = error
    return None, problems


def _place(location: tuple[int | str, ...]) -> Place:
    """pydantic's location without the names of the kinds of a part."""
    return tuple(step for step in location if isinstance(step, int) or not step.startswith("<"))


def _problem(detail: Any, document: Document) -> Problem:
    location, kind = detail["loc"], detail["type"]
    place = _place(location)
    name = next((str(step) for step in reversed(place) if isinstance(step, str)), "")
    if kind == "missing":
        line, column = document.at(place[:-1])
        return Problem(line, column, f"`{name}` is missing")
    if kind == "extra_forbidden":
        line, column = document.key_at(place)
        part = _TAGGED.get(str(location[-2])) if len(location) > 1 else None
        part = part or PARTS.get(tuple(step for step in place[:-1] if isinstance(step, str)))
        return Problem(line, column, unknown_key(name, keys_of(part) if part else ()))
    line, column = document.at(place)
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    value = detail["input"]
    said = "" if isinstance(value, dict | list) else f", not {show(value)}"
    return Problem(line, column, f"`{name}`: {message}{said}")


def keys_of(part: type[BaseModel]) -> list[str]:
    """The keys of a part as they stand in a file."""
    return [field.alias or name for name, field in part.model_fields.items()]


def unknown_key(name: str, known: Iterable[str]) -> str:
    return f"unknown key `{name}`, {nearest(name, known)}"


def _cut(root: Any, detail: Any) -> None:
    """Take out the part that has the problem: a key goes, an element of a list leaves a hole."""
    place = _place(detail["loc"])
    if detail["type"] == "missing":
        place = place[:-1]
    while place:
        parent = root
        for step in place[:-1]:
            parent = parent[step] if _has(parent, step) else None
        last = place[-1]
        if isinstance(parent, dict) and last in parent:
            del parent[last]
            return
        if isinstance(parent, list) and isinstance(last, int) and last < len(parent):
            if parent[last] == HOLE:  # cut out by another problem
                return
            if str(place[-2]) in {"distillers", "of", "pairs", "teachers", "students"}:
                parent[last] = HOLE
                return
        place = place[:-1]


def _has(parent: Any, step: str | int) -> bool:
    if isinstance(parent, dict):
        return step in parent
    return isinstance(parent, list) and isinstance(step, int) and step < len(parent)
