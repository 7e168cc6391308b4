"""The sentences around a table: title, caption and footnotes."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from kdharness.core.analyses import is_analysis_metric
from kdharness.core.records import TableSpec
from kdharness.reporting import names, statistics
from kdharness.reporting.comparing import ENOUGH
from kdharness.reporting.footnotes import plain
from kdharness.reporting.ledger import Tried
from kdharness.reporting.ranking import Ranks
from kdharness.reporting.runs import Run, purpose_of
from kdharness.reporting.table import Table

DATASETS = {
    "digits": "digits is a smoke benchmark (1,797 images of 8x8 pixels): no claim rests on it.",
    "digits-smoke": "digits-smoke is 128 images of 8x8 pixels, to see a path work: no claim rests on it.",
    "synthetic": "synthetic images: only for measuring speed.",
}
"""What must be said of a dataset wherever its numbers stand."""

ONE_BY_ONE = 12
"""So many values of a recipe's field stand in the caption one by one."""

SPREADS = {
    "std": "sample standard deviation",
    "sem": "standard error of the mean (sample standard deviation over √n)",
    "ci": "half of the 95 % interval (Student's t)",
}
"""What stands behind ± (`pm`)."""


def title(runs: Sequence[Run], metrics: Sequence[str], spec: TableSpec) -> str:
    """Which studies, which number."""
    studies = ", ".join(dict.fromkeys(run.study for run in runs))
    datasets = ", ".join(sorted({run.dataset for run in runs}))
    return f"{studies}: {_whats(metrics)} on {datasets}"


def caption(
    table: Table,
    runs: Sequence[Run],
    spec: TableSpec,
    *,
    teachers: Mapping[str, Run],
    ranks: Ranks | None,
    paired: bool,
    tried: Tried,
) -> tuple[str, ...]:
    """What the numbers are, over which seeds, by which protocol; what is not there yet."""
    purpose = purpose_of(spec)
    shown, costs = table.metrics[: len(spec.measures)], table.metrics[len(spec.measures) :]
    mean = "Mean" if table.within else f"Mean ± {SPREADS[table.pm]}"
    seeds = _seeds(sorted({run.seed for run in runs}))
    sentences = [
        *([f"{_whats(shown)} on {table.dataset}."] if spec.title else []),  # else the title says it
        f"{mean} over {seeds}; in parentheses n, the number of runs.",
        *([f"{_whats(costs)}: means, in no ranking."] if costs else []),
    ]
    chosen = [metric for metric in table.metrics if metric.endswith("_best")]
    if chosen:
        by = "the validation images" if chosen[0].startswith("val_") else "test: the numbers are optimistic"
        sentences.append(f"The epoch was selected on {by}.")
    if purpose == "search":
        sentences.append("Runs of a search: trained without the validation images that they are judged by.")
    sentences += _marks(table, spec)
    sentences += _differences(table, paired=paired)
    sentences += _ranks(table, spec, ranks)
    sentences += _printed(table, spec)
    sentences += _of_heads(table)
    sentences.append(_protocol(runs))
    sentences += _of_teachers(runs, teachers)
    sentences += _same_runs(table, spec)
    sentences += _revealed(table, runs, tried) if purpose == "final" else []
    sentences += _missing(table)
    sentences += [DATASETS[name] for name in table.dataset.split(", ") if name in DATASETS]
    return tuple(sentences)


def _marks(table: Table, spec: TableSpec) -> list[str]:
    if not any(cell.mark for cell in table.cells.values()):
        return []
    if spec.bold == "best":
        return ["Best in bold, second underlined, among complete cells."]
    return [
        "Bold: the best of the complete cells and all that a test does not tell from it (0.05, adjusted over the table "
        "by Benjamini and Hochberg); second underlined where it is told apart."
    ]


def _differences(table: Table, *, paired: bool) -> list[str]:
    unit = "points" if names.is_percent(table.metric) else "the metric's unit"
    said = [f"Δ: difference to {table.baseline} in {unit}."] if table.has_delta else []
    said += [f"“vs”: difference to the row named, in {unit}."] if table.has_against else []
    cells = table.cells.values()
    against = dict.fromkeys((cell.row, cell.against.to) for cell in cells if table.delta_rows and cell.against)
    if against:
        named = f" ({', '.join(f'{row} to {other}' for row, other in against)})" if len(against) <= 3 else ""
        said.append(f"Δ: difference of the row above to the one that it is set against{named}, in {unit}.")
    shown = [cell.delta for cell in cells if table.has_delta]
    shown += [cell.against for cell in cells if table.has_against or table.delta_rows]
    others = sum(one is not None and not one.same_seeds for one in shown)
    if others:
        said.append(f"Differences between means over different seeds: {others}.")
    if paired:
        said.append("Tests are paired by seed, as the study declared before its first run.")
    if table.has_delta and any(cell.stars for cell in cells):
        test = "paired t test" if paired else "Welch's t test"
        said.append(
            f"* below 0.05, ** below 0.01 by {test}, adjusted over the table (Benjamini and Hochberg); no stars below "
            f"{ENOUGH} runs."
        )
    return said


def _ranks(table: Table, spec: TableSpec, ranks: Ranks | None) -> list[str]:
    if ranks is None or not table.ranks:
        missing = "no pair has finished runs of all rows" if len(table.rows) > 1 else "there is one row"
        missing = missing if spec.rows == "distiller" else "the rows are no methods"
        return [f"No ranks: {missing}."] if spec.average else []
    places = f"{ranks.places} pair{'s' if ranks.places > 1 else ''}"
    said = f"Rank: mean rank over {places} that all rows have, 1 is best."
    if ranks.p_value is not None:
        said += f" Friedman's test that all are alike: p = {ranks.p_value:.2g}."
    if ranks.critical is not None and ranks.p_value is not None:
        said += f" Mean ranks further apart than {ranks.critical:.2f} differ at 0.05 (Nemenyi)."
    if ranks.p_value is not None:
        said += " Pairs share teachers, so they are not independent: read both tests as generous."
    return [said]


def _printed(table: Table, spec: TableSpec) -> list[str]:
    said = []
    if table.published and not any(cell.beside and cell.beside.verdict for cell in table.cells.values()):
        said.append(f"Printed: {table.published}, of which nothing is compared here.")
    elif table.published:
        epoch = "best epoch on test" if table.metric.endswith("_best") else "last epoch"
        said.append(
            f"Printed: {table.published}. Ours ({epoch}) against print at the 95 % bound of Student's t, (ours - "
            "printed) / (s √(1/n + 1/n of the paper)), with 1 where the paper's n is not known; values selected or "
            "trained otherwise are not compared."
        )
    if spec.fill and not table.filled:
        said.append(f"Nothing here could be filled from {', '.join(dict.fromkeys(fill.table for fill in spec.fill))}.")
    if table.filled:
        said.append("Grey, with a capital: printed values where no run of ours exists, in no rank and no test.")
    return said


def _of_heads(table: Table) -> list[str]:
    heads = (*table.rows, *table.columns)
    said = []
    if any(head.teacher for head in heads):
        alone = ", and the student's trained alone" if any(head.student is not None for head in heads) else ""
        said.append(f"In the heads: the teacher's test top-1 accuracy after its last epoch (%){alone}.")
    if any(head.teacher is not None and head.teacher.imported for head in heads):
        said.append("Imported: released weights, evaluated here.")
    return said


def _of_teachers(runs: Sequence[Run], teachers: Mapping[str, Run]) -> list[str]:
    """In what the teachers that were trained here were trained otherwise than every student."""
    ids = dict.fromkeys(run.teacher_run_id for run in runs if run.teacher_run_id)
    named = dict.fromkeys(one for joined in ids for one in joined.split(" + "))
    students = {id(run.recipe): run.recipe for run in runs}.values()  # the seeds of a setting share theirs
    departures = []
    for teacher in (teachers[one] for one in named if one in teachers):
        apart = dict(teacher.recipe)
        for recipe in students:
            apart = {field: value for field, value in apart.items() if field not in recipe or recipe[field] != value}
            if not apart:
                break
        shown = {field: value for field, value in apart.items() if field != "milestones" or "epochs" not in apart}
        departures.append(", ".join(f"{field.replace('_', ' ')} {plain(value)}" for field, value in shown.items()))
    said = "; or ".join(filter(None, dict.fromkeys(departures)))
    return [f"Teachers were trained by another recipe: {said}."] if said else []


def _same_runs(table: Table, spec: TableSpec) -> list[str]:
    """Which rows (or columns) of methods show the same runs under several pairs: those that no teacher taught. And
    which show the runs of another one, whose setting is the same."""
    if "distiller" not in (spec.rows, spec.columns):
        return []
    side, heads = (0, table.rows) if spec.rows == "distiller" else (1, table.columns)
    places = Counter((at[side], cell.metric, cell.wanted_runs) for at, cell in table.cells.items())
    shared = dict.fromkeys(heads[head].printed for (head, _, runs), count in places.items() if count > 1 and runs)
    said = [f"{', '.join(shared)}: without a teacher, the same runs under every pair of one student."] if shared else []
    alike: dict[tuple[str, ...], dict[str, None]] = {}
    for at, cell in table.cells.items():
        if cell.wanted_runs:
            alike.setdefault(cell.wanted_runs, {})[heads[at[side]].printed] = None
    several = dict.fromkeys(tuple(rows) for rows in alike.values() if len(rows) > 1)
    return [*said, *(f"{', '.join(most)} and {last} show the same runs: one setting." for *most, last in several)]


def _revealed(table: Table, runs: Sequence[Run], tried: Tried) -> list[str]:
    """How much the best of several settings flatters, where more than one of a row had its test score revealed.

    By the pooled standard error of those rows: a table that shows them beside others says the same.
    """
    counts = {label: tried[label] for label in dict.fromkeys(run.label for run in runs) if label in tried}
    most = max(counts.values(), default=0)
    factor = statistics.optimism(most) if most > 1 else None
    rows = [label for label, count in counts.items() if count == most]
    settings = {run.setting_key for run in runs if counts.get(run.label) == most}
    cells = (one for one in table.cells.values() if one.metric == table.metric and one.setting_key in settings)
    variances = [cell.std**2 / cell.n for cell in cells if cell.std]
    if factor is None or not variances or not names.is_percent(table.metric):
        return []
    expected = factor * math.sqrt(math.fsum(variances) / len(variances))
    return [
        f"Up to {most} settings of one row and pair had their test score revealed, in whichever study "
        f"({', '.join(rows)}): a row picked as the best of {most} settings on test is expected to flatter by "
        f"{expected:.2f} points if all are alike."
    ]


def _missing(table: Table) -> list[str]:
    """What was not measured, and how many runs no mean has; a run of several cells is one."""
    known = {cell.metric for cell in table.cells.values() if cell.n}
    unknown = [metric for metric in table.metrics if is_analysis_metric(metric) and metric not in known]
    said = [f"No run has {' or '.join(unknown)} yet: `kdharness evaluate` measures it."] if unknown else []
    cells = [cell for cell in table.cells.values() if cell.metric not in unknown]
    missing = {run for cell in cells if not cell.complete for run in {*cell.wanted_runs} - {*cell.runs}}
    if missing:
        wanted = {run for cell in cells for run in cell.wanted_runs}
        said.append(f"{len(missing)} of {len(wanted)} runs are not in the means (n/asked for).")
    return said


def _what(metric: str) -> str:
    when = {"_last": " after the last epoch", "_best": " at the best epoch"}.get(metric[-5:], "")
    marked = " (selected on test)" if metric.startswith("test_") and metric.endswith("_best") else ""
    return names.metric(metric) + when + marked


def _whats(metrics: Sequence[str]) -> str:
    *most, last = map(_what, metrics)
    return f"{', '.join(most)} and {last}" if most else last


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if len(seeds) > 3 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return "seeds " + ", ".join(map(str, seeds))


def _protocol(runs: Sequence[Run]) -> str:
    """One sentence about how the students were trained."""
    parts = []
    recipes = {id(run.recipe): run.recipe for run in runs}.values()  # the seeds of a setting share theirs
    for name, form in (("epochs", "{} epochs"), ("optimizer", "{}"), ("batch_size", "batch size {}"), ("lr", "lr {}")):
        values = sorted({recipe[name] for recipe in recipes if name in recipe})
        if values:
            written = " / ".join(dict.fromkeys(map(plain, values)))
            if len(values) > ONE_BY_ONE:
                written = f"{plain(values[0])} to {plain(values[-1])} ({len(values):,} values)"
            said = form.format(written)
            parts.append("1 epoch" if said == "1 epochs" else said)
    held_out = "all of train" if all(run.purpose == "final" for run in runs) else "train minus validation"
    return f"Protocol: {', '.join([*parts, held_out])}.".replace(" sgd,", " SGD,")
