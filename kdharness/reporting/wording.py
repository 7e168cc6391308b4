"""The sentences around a table: title, caption and footnotes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from kdharness.core.records import Purpose, TableSpec
from kdharness.reporting import names
from kdharness.reporting.runs import Run
from kdharness.reporting.table import Cell, Footnote, Table

K = TypeVar("K", bound=tuple[str, str, str])

LOST = "†"
"""The mark of a cell that lacks runs which will not come by themselves."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_UNFINISHED = ("waiting", "running", "complete")

DATASETS = {
    "digits": "digits is a smoke benchmark (1,797 images of 8x8 pixels): no claim rests on it.",
    "synthetic": "synthetic images: only for measuring speed.",
}
"""What must be said of a dataset wherever its numbers stand."""


def title(runs: Sequence[Run], metric: str, spec: TableSpec) -> str:
    """Which studies, which number."""
    studies = ", ".join(dict.fromkeys(run.study for run in runs))
    datasets = ", ".join(sorted({run.dataset for run in runs}))
    return f"{studies}: {_what(metric)} on {datasets}"


def caption(table: Table, runs: Sequence[Run], purpose: Purpose, spec: TableSpec) -> tuple[str, ...]:
    """What the numbers are, over which seeds, by which protocol; what is not there yet."""
    cells = list(table.cells.values())
    seeds = _seeds(sorted({run.seed for run in runs}))
    sentences = [
        *([f"{_what(table.metric)} on {table.dataset}."] if spec.title else []),  # else the title says it
        f"Mean ± sample standard deviation over {seeds}; in parentheses n, the number of runs.",
    ]
    if table.metric.endswith("_best"):
        chosen = "the validation images" if table.metric.startswith("val_") else "test: the numbers are optimistic"
        sentences.append(f"The epoch was selected on {chosen}.")
    if purpose == "search":
        sentences.append("Runs of a search: trained without the validation images that they are judged by.")
    if any(cell.mark for cell in cells):
        sentences.append("Best in bold, second underlined, among complete cells.")
    unit = "points" if names.is_percent(table.metric) else "the metric's unit"
    if table.has_delta:
        sentences.append(f"Δ: difference to {table.baseline} in {unit}.")
    if table.has_against:
        sentences.append(f"“vs”: difference to the row named, in {unit}.")
    if any(head.teacher for head in (*table.rows, *table.columns)):
        sentences.append("In the heads: the teacher's test top-1 accuracy after its last epoch (%).")
    if any(head.teacher is not None and head.teacher.imported for head in (*table.rows, *table.columns)):
        sentences.append("Imported: released weights, evaluated here.")
    sentences.append(_protocol(runs))
    missing = sum(cell.wanted - cell.n for cell in cells)
    if missing:
        sentences.append(f"{missing} of {sum(cell.wanted for cell in cells)} runs are not in the means (n/asked for).")
    sentences += [DATASETS[name] for name in table.dataset.split(", ") if name in DATASETS]
    return tuple(sentences)


def footnotes(
    cells: Mapping[K, Cell], runs: Mapping[K, Sequence[Run]], teachers: Mapping[str, Run]
) -> tuple[dict[K, Cell], tuple[Footnote, ...]]:
    """The cells with their marks, and the notes that the marks stand for."""
    marks: dict[str, str] = {}

    def mark(text: str) -> str:
        return marks.setdefault(text, _LETTERS[len(marks) % 26] * (1 + len(marks) // 26))

    usual = _usual_recipes(runs)
    noted: dict[K, Cell] = {}
    lost: Counter[str] = Counter()
    for key, cell in cells.items():
        notes = []
        gone = {state: count for state, count in cell.states.items() if state not in _UNFINISHED}
        lost.update(gone)
        if gone:
            notes.append(LOST)
        if cell.n < cell.states.get("complete", 0):
            notes.append(mark("some finished runs have no finite value of this metric and are left out of the mean"))
        finished = [run for run in runs[key] if run.value is not None]
        if len({run.numerics_key for run in finished if run.numerics_key}) > 1:
            notes.append(mark("runs on different devices or library versions, which may differ in the last bits"))
        if any(run.mixed_numerics for run in finished):
            notes.append(mark("a run's attempts were on different devices or library versions"))
        own = _own_recipe(runs[key][0], usual[_column(runs[key][0])])
        if own:
            notes.append(mark(f"trained by a recipe of its own: {own}"))
        unpublished = runs[key][0].unpublished
        if unpublished:
            notes.append(mark(f"{unpublished} released no constants for this pair: its general ones stand here"))
        noted[key] = replace(cell, notes=tuple(notes))
    listed = [Footnote(letter, text + ".") for text, letter in marks.items()]
    if lost:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(lost.items()))
        what = "not all runs count" if "excluded" in lost else "not all runs ended well"
        text = f"{what} ({counts}): mean of the others that are finished, ranked below complete cells."
        reasons = Counter(run.excluded for group in runs.values() for run in group if run.excluded)
        if reasons:
            text += " Excluded: " + "; ".join(
                f"{reason} ({count} runs)" if count > 1 else reason for reason, count in reasons.items()
            )
            text += "" if text.endswith(".") else "."
        listed.insert(0, Footnote(LOST, text))
    several = _several_teachers(runs, teachers)
    if several:
        listed.append(Footnote("*", several))
    return noted, tuple(listed)


def _what(metric: str) -> str:
    when = {"_last": " after the last epoch", "_best": " at the best epoch"}.get(metric[-5:], "")
    marked = " (selected on test)" if metric.startswith("test_") and metric.endswith("_best") else ""
    return names.metric(metric) + when + marked


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if len(seeds) > 3 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return "seeds " + ", ".join(map(str, seeds))


def _protocol(runs: Sequence[Run]) -> str:
    """One sentence about how the students were trained."""
    parts = []
    for field, form in (("epochs", "{} epochs"), ("optimizer", "{}"), ("batch_size", "batch size {}"), ("lr", "lr {}")):
        values = sorted(
            {_text(run.recipe[field]) for run in runs if field in run.recipe}, key=lambda text: (len(text), text)
        )
        if values:
            said = form.format(" / ".join(values))
            parts.append("1 epoch" if said == "1 epochs" else said)
    held_out = "all of train" if all(run.purpose == "final" for run in runs) else "train minus validation"
    return f"Protocol: {', '.join([*parts, held_out])}.".replace(" sgd,", " SGD,")


def _column(run: Run) -> tuple[str, str]:
    return run.dataset, run.pair


def _usual_recipes(runs: Mapping[K, Sequence[Run]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """The recipe that most cells of a pair share; of equally many the first."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    recipes: dict[str, Mapping[str, Any]] = {}
    for group in runs.values():
        recipe = group[0].recipe
        recipes[repr(sorted(recipe.items()))] = recipe
        counts.setdefault(_column(group[0]), Counter())[repr(sorted(recipe.items()))] += 1
    return {column: recipes[count.most_common(1)[0][0]] for column, count in counts.items()}


def _own_recipe(run: Run, usual: Mapping[str, Any]) -> str:
    """Where a run's recipe departs from the usual one; what an axis of the study varies is in sight already."""
    if any(axis.startswith("recipe.") for axis in run.axes):
        return ""  # a panel of its own, whose axis may move other fields by rule (lr_rule)
    differing = [field for field in run.recipe if run.recipe[field] != usual.get(field)]
    return ", ".join(f"{field} {_text(run.recipe[field])}" for field in differing)


def _several_teachers(runs: Mapping[K, Sequence[Run]], teachers: Mapping[str, Run]) -> str:
    """Which pairs were taught by teachers of different settings, whose mean would mean nothing."""
    by_pair: dict[tuple[str, str], set[str]] = {}
    for group in runs.values():
        for run in group:
            teacher = teachers.get(run.teacher_run_id or "")
            if teacher is not None:
                by_pair.setdefault(_column(run), set()).add(teacher.setting_key)
    pairs = [names.pair(pair) for (_, pair), keys in by_pair.items() if len(keys) > 1]
    if not pairs:
        return ""
    return f"teachers of different settings taught the rows of {', '.join(pairs)}: no accuracy stands in the head."


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return str(value)
