"""What a benchmark found: its figures and bars, as Markdown and JSON, and against an earlier report."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from kdharness.benchmarks.measuring import Figure
from kdharness.core.errors import BadInput

FORMAT = 1
"""Of the JSON."""


@dataclass(frozen=True)
class Bar:
    """What the project promises, and what was measured."""

    id: str
    what: str
    bound: float
    unit: str
    value: float
    aim: float | None = None
    better: Literal["higher", "lower"] = "higher"

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.better == "higher" else self.value <= self.bound


@dataclass(frozen=True)
class Report:
    """One run of one benchmark."""

    bench: str
    about: str
    """What a figure is: which sides, which clock, how many rounds."""
    machine: dict[str, Any]
    figures: Sequence[Figure]
    bars: Sequence[Bar] = ()
    notes: Sequence[str] = ()
    """What was left out and why."""
    quick: bool = False


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain values."""
    figures = [
        {
            **{name: value for name, value in asdict(figure).items() if name != "values"},
            "median": figure.median,
            "q1": figure.quartiles[0],
            "q3": figure.quartiles[1],
            "values": list(figure.values),
        }
        for figure in report.figures
    ]
    bars = [{**asdict(bar), "met": bar.met} for bar in report.bars]
    whole = {name: getattr(report, name) for name in ("bench", "about", "machine", "quick")}
    return {"format": FORMAT, **whole, "figures": figures, "bars": bars, "notes": list(report.notes)}


def read(path: Path) -> Report:
    """A report that `as_json` wrote to the file. Raises BadInput for anything else."""
    try:
        found = json.loads(path.read_text())
        if found["format"] != FORMAT:
            raise BadInput(f"a bench report of format {found['format']}, this version reads {FORMAT}", where=str(path))
        figures = [
            Figure(one["table"], one["row"], one["column"], one["unit"], tuple(map(float, one["values"])))
            for one in found["figures"]
        ]
        bars = [Bar(**{name: value for name, value in one.items() if name != "met"}) for one in found["bars"]]
        whole = {name: found[name] for name in ("bench", "about", "machine", "quick", "notes")}
        return Report(**whole, figures=figures, bars=bars)
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"not a report of kdharness bench: {type(error).__name__}: {error}",
            where=str(path),
            remedy="make one with kdharness bench NAME --save FILE",
        ) from error


def render(report: Report) -> str:
    """Markdown: one table per clock, the bars, the machine."""
    blocks = [f"### kdharness bench {report.bench}{' --quick' if report.quick else ''}", report.about]
    for table in dict.fromkeys(figure.table for figure in report.figures):
        blocks += [f"**{table}**", _table([figure for figure in report.figures if figure.table == table])]
    if report.bars:
        blocks.append(_bars(report.bars))
    blocks += [f"- {note}" for note in report.notes]
    blocks.append(_machine(report))
    return "\n\n".join(blocks)


def compare(old: Report, new: Report) -> str:
    """Markdown: each figure of both as new / old, marked where their interquartile ranges lie apart.

    Raises BadInput for reports of different benchmarks.
    """
    if old.bench != new.bench:
        raise BadInput(f"the older report is of bench {old.bench}, this one of {new.bench}")
    before = {figure.key: figure for figure in old.figures}
    lines = [["", "", "", "old", "new", "new / old", ""]]
    for figure in new.figures:
        earlier = before.get(figure.key)
        if earlier is None:
            continue
        change = figure.median / earlier.median if earlier.median else math.nan
        lines.append(
            [*figure.key, _cell(earlier), _cell(figure), f"{change:.2f}", "changed" if _apart(earlier, figure) else ""]
        )
    missing = len(before.keys() - {figure.key for figure in new.figures})
    blocks = [f"### against {old.machine.get('started', 'the older report')}", _markdown(lines)]
    blocks += [f"- {missing} figures of the older report were not measured now"] if missing else []
    for name in ("device", "cores", "threads"):
        if old.machine.get(name) != new.machine.get(name):
            blocks.append(f"- {name}: {old.machine.get(name)} then, {new.machine.get(name)} now: times do not compare")
    blocks += ["- one of the two is a quick one"] if old.quick != new.quick else []
    return "\n\n".join(blocks)


def _apart(one: Figure, other: Figure) -> bool:
    (low, high), (other_low, other_high) = one.quartiles, other.quartiles
    return high < other_low or other_high < low


def _table(figures: Sequence[Figure]) -> str:
    columns = list(dict.fromkeys(figure.column for figure in figures))
    cells = {(figure.row, figure.column): _cell(figure) for figure in figures}
    lines = [["", *columns]]
    for row in dict.fromkeys(figure.row for figure in figures):
        lines.append([row, *(cells.get((row, column), "") for column in columns)])
    return _markdown(lines)


def _bars(bars: Sequence[Bar]) -> str:
    lines = [["bar", "", "measured", "bound", "aim", ""]]
    for bar in bars:
        sign = "≥" if bar.better == "higher" else "≤"
        aim = "" if bar.aim is None else f"{sign} {_number(bar.aim)}{_unit(bar.unit)}"
        measured, bound = f"{_number(bar.value)}{_unit(bar.unit)}", f"{sign} {_number(bar.bound)}{_unit(bar.unit)}"
        lines.append([bar.id, bar.what, measured, bound, aim, "met" if bar.met else "missed"])
    return _markdown(lines)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    """The first line is the head; every column but the first is set right."""
    width = len(lines[0])
    rule = [":--", *["--:"] * (width - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:]))


def _cell(figure: Figure) -> str:
    """Median and, of several values, the ends of the interquartile range."""
    middle = f"{_number(figure.median)}{_unit(figure.unit)}"
    if len(figure.values) == 1:
        return middle
    low, high = figure.quartiles
    return f"{middle} ({_number(low)}–{_number(high)})"


def _number(value: float) -> str:
    """Three significant digits, or all before the point."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _unit(unit: str) -> str:
    return {"x": "×", "%": " %"}.get(unit, f" {unit}")


def _machine(report: Report) -> str:
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    load = machine["load"]
    return (
        f"{machine['device']}, {machine['cores']} cores, {machine['threads']} thread(s); {versions}; commit "
        f"{machine['commit'] or 'unknown'}; {machine['started']}, {machine['seconds']} s; load average "
        f"{load[0]:.1f} before, {load[1]:.1f} after."
    )
