"""Printed numbers as records, and how they are read: the package's own and those that a home was given."""

import csv
import difflib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from kdharness.core.errors import BadInput

Selection = Literal["last", "best", "unknown"]
SELECTIONS: tuple[Selection, ...] = get_args(Selection)

FIELDS = (
    "source", "table", "dataset", "split", "task", "teacher", "student", "method", "metric", "value", "std", "n_trials",
    "setting", "note",
)  # fmt: skip
"""The columns of a file of printed values. `setting` is JSON; empty is unknown."""

_FOLDER = resources.files("kdharness.reporting.published")


@dataclass(frozen=True)
class Source:
    """A paper, a repository's README or its logs."""

    name: str
    paper: str
    cite: str
    selection: Selection
    """Which epoch's test accuracy was printed."""
    evidence: str
    """How that is known."""
    copies: tuple[str, ...] = ()
    """Sources whose values it repeats."""


@dataclass(frozen=True)
class Printed:
    """One printed number."""

    source: str
    table: str
    dataset: str
    split: str
    task: str
    teacher: str
    """Empty for a student trained alone."""
    student: str
    """Empty for a teacher."""
    method: str
    metric: str
    text: str
    """As printed, which says how far it was rounded."""
    std: float | None
    n: int | None
    """Over how many trials it is a mean; None where the source does not say."""
    setting: Mapping[str, Any] = field(hash=False)
    """What is known of how it was trained, in the source's words."""
    note: str

    @property
    def value(self) -> float:
        return float(self.text)

    @property
    def decimals(self) -> int:
        return len(self.text.partition(".")[2]) if "e" not in self.text else 0

    @property
    def place(self) -> str:
        return f"{self.source} {self.table}"


@dataclass(frozen=True)
class Contradiction:
    """What must be said beside the cells that it selects."""

    text: str
    selects: Mapping[str, tuple[str, ...]]
    unusable: bool = False
    """The cells are shown, but neither compared nor filled in."""
    released: Mapping[str, Any] = field(default_factory=dict)
    """What the released code has of their settings, where the paper says otherwise."""

    def holds(self, printed: Printed) -> bool:
        return all(
            getattr(printed, "text" if name == "value" else name) in any_of for name, any_of in self.selects.items()
        )


@dataclass(frozen=True)
class Registry:
    """All printed numbers that are known here."""

    values: tuple[Printed, ...]
    sources: Mapping[str, Source]
    contradictions: tuple[Contradiction, ...]

    @cached_property
    def tables(self) -> dict[str, tuple[Printed, ...]]:
        """By "source table", in the order of the files."""
        found: dict[str, list[Printed]] = {}
        for one in self.values:
            found.setdefault(one.place, []).append(one)
        return {name: tuple(values) for name, values in found.items()}

    def table(self, key: str) -> tuple[Printed, ...]:
        """The numbers of one table by its key, `sun2024logit Table 2`. Raises BadInput with the nearest key."""
        names = {name.casefold(): name for name in self.tables}
        name = names.get(" ".join(key.split()).casefold())
        if name is None:
            near = difflib.get_close_matches(key.casefold(), names, n=1)
            hint = f"Did you mean {names[near[0]]!r}?" if near else "`kdharness published list` names them all."
            raise BadInput(f"no table is called {key!r}", remedy=hint)
        return self.tables[name]

    def selection(self, printed: Printed) -> Selection:
        """Which epoch's test accuracy was printed: the metric's name says it, or the source, or whom it copied."""
        if printed.metric.endswith(("_last", "_best")):
            return "last" if printed.metric.endswith("_last") else "best"
        source = self.sources[printed.source]
        for copied in source.copies:
            if self._originals.get((copied, *_cell(printed))) == printed.text:
                return self.sources[copied].selection
        return source.selection

    def notes(self, printed: Printed) -> tuple[Contradiction, ...]:
        """The contradictions that stand on a number."""
        return tuple(one for one in self.contradictions if one.holds(printed))

    def is_usable(self, printed: Printed) -> bool:
        return not any(one.unusable for one in self.notes(printed))

    def settled(self, printed: Printed) -> Printed:
        """The number with the settings that ours is compared by: the released code's, where a note knows them."""
        released = {name: value for note in self.notes(printed) for name, value in note.released.items()}
        return replace(printed, setting={**printed.setting, **released}) if released else printed

    @cached_property
    def _originals(self) -> dict[tuple[str, ...], str]:
        copied = {name for source in self.sources.values() for name in source.copies}
        return {(one.source, *_cell(one)): one.text for one in self.values if one.source in copied}


def read_registry(folder: Path | None = None) -> Registry:
    """The package's numbers, and those of the files in `folder` (a home's). Raises BadInput with file and line."""
    sources = _sources(tomllib.loads((_FOLDER / "sources.toml").read_text(encoding="utf-8")))
    values = read_values((_FOLDER / "results.csv").read_text(encoding="utf-8"), "results.csv")
    for path in sorted(folder.glob("*.csv")) if folder is not None and folder.is_dir() else []:
        values += read_values(path.read_text(encoding="utf-8"), str(path))
        about = path.with_suffix(".toml")
        sources |= _sources(tomllib.loads(about.read_text(encoding="utf-8")))
    unknown = {one.source for one in values} - set(sources)
    if unknown:
        raise BadInput(f"values of sources that nothing is said of: {', '.join(sorted(unknown))}", where=str(folder))
    notes = tomllib.loads((_FOLDER / "contradictions.toml").read_text(encoding="utf-8"))["note"]
    return Registry(tuple(values), sources, tuple(map(_contradiction, notes)))


def read_values(text: str, where: str) -> list[Printed]:
    """The numbers of a CSV file. Raises BadInput with the line of the first row that is none."""
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != FIELDS:
        raise BadInput("not a file of printed values", where=where, remedy="Its first line is: " + ",".join(FIELDS))
    return [_printed(row, f"{where}:{reader.line_num}") for row in reader]


def _printed(row: Mapping[str, Any], where: str) -> Printed:
    if None in row or None in row.values():
        raise BadInput(f"a row has {len(FIELDS)} columns", where=where)
    try:
        setting = json.loads(row["setting"] or "{}")
        printed = Printed(
            **{name: row[name].strip() for name in FIELDS[:9]},
            text=row["value"].strip(),
            std=float(row["std"]) if row["std"] else None,
            n=int(row["n_trials"]) if row["n_trials"] else None,
            setting=setting,
            note=row["note"].strip(),
        )
        finite = math.isfinite(printed.value)
    except ValueError as error:
        raise BadInput(f"a row that cannot be read: {error}", where=where) from error
    if not finite or not isinstance(setting, dict) or (printed.n is not None and printed.n < 1):
        raise BadInput("a value is a finite number, a setting a JSON object, n_trials at least 1", where=where)
    if not all((printed.source, printed.table, printed.dataset, printed.method, printed.metric)):
        raise BadInput("source, table, dataset, method and metric cannot be empty", where=where)
    return printed


def _sources(found: Mapping[str, Any]) -> dict[str, Source]:
    return {name: Source(name, **{**said, "copies": tuple(said.get("copies", ()))}) for name, said in found.items()}


def _contradiction(said: Mapping[str, Any]) -> Contradiction:
    selects = {name: _listed(value) for name, value in said.items() if name not in ("text", "unusable", "released")}
    return Contradiction(said["text"], selects, said.get("unusable", False), said.get("released", {}))


def _listed(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _cell(printed: Printed) -> tuple[str, ...]:
    return printed.dataset, printed.teacher, printed.student, printed.method, printed.metric
