"""Every constant of every row and pair with its source, said once where many share it: the settings appendix.

What holds of a row on a pair: what its own block says, else what the pair's block says, else what the first one says.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdharness.reporting import names
from kdharness.reporting.latex import escape
from kdharness.reporting.methods import is_published
from kdharness.reporting.placing import assign

EVERYWHERE = "All rows and pairs, unless a block below says otherwise"

Sourced = tuple[Any, str]
"""A value and where it came from."""

ABSENT: Sourced = ("–", "")


@dataclass(frozen=True)
class Constants:
    """One setting at one place of a study."""

    label: str
    pair: str
    distiller: str
    values: Mapping[str, Any]
    """By flat name: `kd.temperature`, `recipe.lr`, `teacher.1`."""
    sources: Mapping[str, str]
    axes: Mapping[str, Any] = field(default_factory=dict)
    """What tells it from the other rows of its entry."""


@dataclass(frozen=True)
class Line:
    name: str
    value: str
    row: str
    """Which of an entry's rows it is about, by the axis that decides it: `temperature=2`; empty: all of them."""
    pairs: tuple[str, ...]
    """The pairs that it holds for; none: for all that the block is about."""
    source: str

    @property
    def where(self) -> str:
        """`all`, `temperature=2: all`."""
        return f"{self.row}: " * bool(self.row) + (", ".join(self.pairs) or "all")


@dataclass(frozen=True)
class Block:
    title: str
    lines: tuple[Line, ...]


def of_search(spec: Mapping[str, Any]) -> Block:
    """What a search chose from, as it is recorded."""
    axes = ", ".join(f"{name}={value}" for name, value in spec["axes"].items())
    pairs = ", ".join(map(names.pair, spec["pairs"]))
    ranges = [Line(name, _range(form), "", (), "searched") for name, form in spec["ranges"].items()]
    told = [Line(name, exact(spec[name]), "", (), "") for name in ("draws", "sampler", "maximize", "validation")]
    return Block(spec["label"] + (f" ({axes})" if axes else "") + f", on {pairs}", (*ranges, *told))


def _range(form: Mapping[str, Any]) -> str:
    if "choice" in form:
        return "one of " + ", ".join(map(exact, form["choice"]))
    low, high = form.get("float") or form["int"]
    return f"{exact(low)} to {exact(high)}" + (", logarithmic" if form.get("log") else "")


def blocks(settings: Sequence[Constants]) -> list[Block]:
    """What all share, what belongs to a pair, and what belongs to a row, in the order of the settings."""
    places: dict[tuple[str, str], list[Constants]] = {}
    for one in settings:
        places.setdefault((one.label, one.pair), []).append(one)
    labels, pairs = (list(dict.fromkeys(place[side] for place in places)) for side in (0, 1))
    shared: list[Line] = []
    of_pair: dict[str, list[Line]] = {pair: [] for pair in pairs}
    of_row: dict[str, dict[str, dict[str, Mapping[Sourced, str]]]] = {label: {} for label in labels}
    for name in dict.fromkeys(name for one in settings for name in one.values):
        told = {place: _told(here, name) for place, here in places.items()}
        usual, agreed = _agreed(told, name, settings)
        if usual is not None:
            shared.append(_line(name, usual, ()))
        for pair, value in agreed.items():
            of_pair[pair].append(_line(name, value, ()))
        for (label, pair), here in told.items():
            expected = agreed.get(pair, usual)
            if list(here) != ([] if expected is None else [expected]):
                of_row[label].setdefault(name, {})[pair] = here or {ABSENT: ""}
    made = [Block(EVERYWHERE, tuple(shared))]
    made += [Block(names.pair(pair), tuple(of_pair[pair])) for pair in pairs]
    for label in labels:
        whole = {pair for of_label, pair in places if of_label == label}
        made.append(Block(label, tuple(_row_lines(of_row[label], whole))))
    return [block for block in made if block.lines]


def _told(settings: Sequence[Constants], name: str) -> Mapping[Sourced, str]:
    """The distinct values of a constant at one place with the rows that have them: several where an axis varies it."""
    found: dict[Sourced, list[Constants]] = {}
    for one in sorted(settings, key=_along_axes):
        if name in one.values:
            found.setdefault((one.values[name], _source(one, name)), []).append(one)
    if len(found) == 1:
        return dict.fromkeys(found, "")
    return dict(zip(found, _rows(list(found.values())), strict=True))


def _along_axes(one: Constants) -> list[float]:
    """Sorts numbers by size, as the rows of a table; words stay in the order of the study."""
    values = one.axes.values()
    return [value if isinstance(value, int | float) and not isinstance(value, bool) else 0.0 for value in values]


def _rows(groups: Sequence[Sequence[Constants]]) -> list[str]:
    """How each group is called: by the values of one axis if it tells the groups apart, else of all axes."""
    axes = list(dict.fromkeys(axis for group in groups for one in group for axis in one.axes))
    for chosen in [*([axis] for axis in axes), axes]:
        rows = [list(dict.fromkeys(_row(one, chosen) for one in group)) for group in groups]
        if sum(map(len, rows)) == len({row for each in rows for row in each}):
            return ["; ".join(each) for each in rows]
    return [""] * len(groups)


def _row(one: Constants, axes: Sequence[str]) -> str:
    return ", ".join(assign(axis, one.axes[axis]) for axis in axes if axis in one.axes)


def _source(one: Constants, name: str) -> str:
    """Where the value came from; the pair is not repeated, so that what pairs have in common stands in one line."""
    source = one.sources.get(name, "")
    method = source.removeprefix("default of ")
    if method != source and not is_published(method):
        return f"{source}, a plug-in"
    return source.replace(f" for {one.pair}", " for the pair").replace(f"at {one.pair},", "at the pair,")


def _agreed(
    told: Mapping[tuple[str, str], Mapping[Sourced, str]], name: str, settings: Sequence[Constants]
) -> tuple[Sourced | None, dict[str, Sourced]]:
    """The usual value, None where few have the constant or it is one method's own; by pair what most rows have else."""
    own = any(name.startswith(("distiller", f"{one.distiller}.")) for one in settings if name in one.values)
    single = {place: next(iter(here)) for place, here in told.items() if len(here) == 1}
    if own or 2 * len(single) <= len(told):
        return None, {}
    usual = Counter(single.values()).most_common(1)[0][0]
    by_pair: dict[str, Counter[Sourced]] = {}
    for (_, pair), value in single.items():
        by_pair.setdefault(pair, Counter())[value] += 1
    agreed = {pair: counts.most_common(1)[0] for pair, counts in by_pair.items()}
    return usual, {
        pair: value for pair, (value, count) in agreed.items() if value != usual and 2 * count > by_pair[pair].total()
    }


def _row_lines(of_row: Mapping[str, Mapping[str, Mapping[Sourced, str]]], whole: set[str]) -> Iterator[Line]:
    for name, by_pair in of_row.items():
        alike: dict[tuple[Sourced, str], list[str]] = {}
        for pair, here in by_pair.items():
            for value, row in here.items():
                alike.setdefault((value, row), []).append(pair)
        for (value, row), pairs in alike.items():
            yield _line(name, value, () if set(pairs) == whole else tuple(pairs), row)


def _line(name: str, value: Sourced, pairs: tuple[str, ...], row: str = "") -> Line:
    return Line(name, exact(value[0]), row, tuple(map(names.pair, pairs)), value[1])


def exact(value: Any) -> str:
    """The shortest text that is read as the same value: `4`, `0.0005`."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value) or "none"


def settings(parts: Iterable[tuple[str, Sequence[Block]]], caption: str, label: str) -> str:
    """The appendix: one long table, a part for the rows, the teachers and the searches each."""
    lines = [
        r"% \usepackage{booktabs,longtable}; in a document of two columns: \onecolumn before, \twocolumn after",
        r"{\footnotesize\sloppy\setlength{\tabcolsep}{4pt}",
        r"\begin{longtable}{@{}p{0.25\linewidth}p{0.21\linewidth}p{0.22\linewidth}p{0.24\linewidth}@{}}",
        rf"\caption{{{escape(caption)}}}\label{{{label}}}\\",
        r"\toprule Constant & Value & Rows and pairs & Source \\ \midrule \endfirsthead",
        r"\toprule Constant & Value & Rows and pairs & Source \\ \midrule \endhead",
        r"\bottomrule \endfoot",
    ]
    for title, found in parts:
        for number, block in enumerate(found):
            if number == 0 and title:
                lines.append(rf"\addlinespace \multicolumn{{4}}{{@{{}}l}}{{\bfseries {escape(title)}}} \\*")
            lines.append(rf"\addlinespace \multicolumn{{4}}{{@{{}}l}}{{\itshape {escape(block.title)}}} \\*")
            lines += [
                " & ".join([*map(_cell, (one.name, one.value, one.where, one.source))]) + r" \\" for one in block.lines
            ]
    return "\n".join([*lines, r"\end{longtable}}", ""])


def _cell(value: str) -> str:
    """Text that may be broken after the signs that join words in a name."""
    return escape(value).replace(r"\_", r"\_\allowbreak{}")
