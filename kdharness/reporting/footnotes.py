"""The footnotes of a table: what must be said of single cells, and of their teachers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdharness.core.analyses import is_analysis_metric
from kdharness.core.records import Smoke
from kdharness.reporting import names
from kdharness.reporting.cells import Cells, Groups
from kdharness.reporting.datasets import chance
from kdharness.reporting.methods import warming_up
from kdharness.reporting.runs import Run
from kdharness.reporting.table import Cell, Footnote, Table

LOST = "†"
"""The mark of a cell that lacks runs which will not come by themselves."""

APART = 0.3
"""Points between our teacher and the paper's from which a head says so."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_UNFINISHED = {"waiting", "running", "complete"}


@dataclass
class Marks:
    """The marks of one table's footnotes, given out as texts come: a, b, ... for remarks, A, B, ... for sources."""

    _texts: dict[str, str] = field(default_factory=dict)
    _small: int = 0
    _large: int = 0

    def of(self, text: str) -> str:
        """The small letter of a remark."""
        if text not in self._texts:
            self._texts[text] = _letter(self._small)
            self._small += 1
        return self._texts[text]

    def letter(self, text: str) -> str:
        """The capital of a source."""
        if text not in self._texts:
            self._texts[text] = _letter(self._large).upper()
            self._large += 1
        return self._texts[text]

    def named(self, mark: str, text: str) -> str:
        """A mark that always means the same."""
        return self._texts.setdefault(text, mark)

    def footnotes(self) -> tuple[Footnote, ...]:
        return tuple(Footnote(mark, text + ".") for text, mark in self._texts.items())


def _letter(number: int) -> str:
    """a to z, aa, ab, ...: three letters for the 17,000th."""
    return (_letter(number // 26 - 1) if number >= 26 else "") + _LETTERS[number % 26]


def footnotes(
    cells: Cells, groups: Groups, teachers: Mapping[str, Run], marks: Marks
) -> tuple[Cells, tuple[Footnote, ...]]:
    """The cells with their marks, and the note on runs that are lost; the other notes are in `marks`."""
    usual = _usual_recipes(groups)
    noted: Cells = {}
    lost: dict[str, Run] = {}
    for key, cell in cells.items():
        runs = groups[key].runs
        notes = []
        if not _UNFINISHED.issuperset(cell.states):
            lost |= {run.run_id: run for run in runs if run.standing not in _UNFINISHED}
            notes.append(LOST)
        if 0 < cell.n < cell.states.get("complete", 0):
            unmeasured = "were not analysed (kdharness evaluate) or " if is_analysis_metric(cell.metric) else ""
            notes.append(
                marks.of(f"some finished runs {unmeasured}have no finite value of this metric and are not in the mean")
            )
        numerics = {(run.numerics_key, run.mixed_numerics) for run in runs if run.value is not None}
        if len({key for key, _ in numerics if key}) > 1:
            notes.append(marks.of("runs on different devices or library versions, which may differ in the last bits"))
        guessing = _guessing(cell, runs[0].dataset)
        if guessing:
            notes.append(marks.of(guessing))
        if any(mixed for _, mixed in numerics):
            notes.append(marks.of("a run's attempts were on different devices or library versions"))
        warming = warming_up(runs[0].constants, runs[0].recipe.get("epochs", 0))
        if warming:
            notes.append(marks.of(warming))
        own = _own_recipe(runs[0], usual[_column(runs[0])])
        if own:
            notes.append(marks.of(f"trained by a recipe of its own: {own}"))
        if runs[0].unpublished:
            notes.append(
                marks.of(f"{runs[0].unpublished} released no constants for this pair: its general ones stand here")
            )
        noted[key] = cell._replace(notes=_in_order(notes)) if notes else cell
    return noted, (_lost(list(lost.values())),) if lost else ()


def _in_order(marks: Sequence[str]) -> tuple[str, ...]:
    """The dagger, then a to z, aa, ab, ..."""
    return tuple(sorted(marks, key=lambda mark: (mark != LOST, len(mark), mark)))


def _guessing(cell: Cell, dataset: str) -> str:
    """That runs are not above what guesses reach: they have learnt nothing."""
    guess = chance(dataset, cell.metric)
    if guess is None or cell.mean is None or min(cell.values) > guess.highest:
        return ""
    there = sum(value <= guess.highest for value in cell.values)
    who = "" if there == cell.n else f"{there} of {cell.n} runs "
    return f"{who}at chance level ({guess.level:.1f} %)"


def _lost(runs: Sequence[Run]) -> Footnote:
    """A run of several cells is one."""
    lost = Counter(run.standing for run in runs)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(lost.items()))
    what = "not all runs count" if "excluded" in lost else "not all runs ended well"
    text = f"{what} ({counts}): mean of the others that are finished, ranked below complete cells."
    reasons = Counter(run.excluded for run in runs if run.excluded)
    if reasons:
        text += " Excluded: " + "; ".join(
            f"{reason} ({count} runs)" if count > 1 else str(reason) for reason, count in reasons.items()
        )
        text += "" if text.endswith(".") else "."
    return Footnote(LOST, text)


def general_notes(
    table: Table, groups: Groups, teachers: Mapping[str, Run], smoke: Smoke | None = None
) -> list[Footnote]:
    """What no single cell is marked with: teachers that differ among rows, or, in a whole study, from print."""
    several = _several_teachers(groups, teachers)
    noted = [Footnote("*", several)] if several else []
    apart = [
        f"{head.printed}: {head.teacher.accuracy:.2f} here, {head.teacher.printed:.2f} in print"
        for head in table.columns
        if head.teacher is not None
        and head.teacher.accuracy is not None
        and head.teacher.printed is not None
        and abs(head.teacher.accuracy - head.teacher.printed) > APART
    ]
    if apart and smoke is None:
        noted.append(Footnote("§", f"teachers more than {APART} points from the paper's: {'; '.join(apart)}."))
    return noted


def _column(run: Run) -> tuple[str, str]:
    return run.dataset, run.pair


def _usual_recipes(groups: Groups) -> dict[tuple[str, str], Mapping[str, Any]]:
    """The recipe that most cells of a pair share; of equally many the first."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    recipes: dict[str, Mapping[str, Any]] = {}
    for group in groups.values():
        recipe = group.runs[0].recipe
        form = repr(recipe)  # canonical, so its fields are in order
        recipes[form] = recipe
        counts.setdefault(_column(group.runs[0]), Counter())[form] += 1
    return {column: recipes[count.most_common(1)[0][0]] for column, count in counts.items()}


def _own_recipe(run: Run, usual: Mapping[str, Any]) -> str:
    """Where a run's recipe departs from the usual one; what an axis of the study varies is in sight already."""
    if any(axis.startswith("recipe.") for axis in run.axes):
        return ""  # a panel of its own, whose axis may move other fields by rule (lr_rule)
    return ", ".join([f"{field} {plain(value)}" for field, value in run.recipe.items() if usual.get(field) != value])


def _several_teachers(groups: Groups, teachers: Mapping[str, Run]) -> str:
    """Which pairs were taught by teachers of different settings, whose mean would mean nothing."""
    by_pair: dict[tuple[str, str], set[str]] = {}
    for group in groups.values():
        for run in group.runs:
            teacher = teachers.get(run.teacher_run_id or "")
            if teacher is not None:
                by_pair.setdefault(_column(run), set()).add(teacher.setting_key)
    pairs = [names.pair(pair) for (_, pair), keys in by_pair.items() if len(keys) > 1]
    if not pairs:
        return ""
    return f"teachers of different settings taught the rows of {', '.join(pairs)}: no accuracy stands in the head."


def plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "none"
    return str(value)
