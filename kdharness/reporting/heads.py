"""The heads of a table's rows and columns: names, groups, the teacher, the student alone."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from kdharness.core.records import TableSpec
from kdharness.reporting import statistics
from kdharness.reporting.cells import Groups
from kdharness.reporting.methods import cite_key
from kdharness.reporting.placing import Side
from kdharness.reporting.references import preset_keys
from kdharness.reporting.runs import Run
from kdharness.reporting.table import Head, TeacherHead

Alone = Mapping[tuple[str, str], float | None]
"""The mean accuracy of students trained alone, by dataset and student."""

_NOWHERE = Side("", "", ())


def heads(
    groups: Groups, side: Literal["rows", "columns"], spec: TableSpec, teachers: Mapping[str, Run], alone: Alone
) -> list[Head]:
    """The distinct heads of one side in order, each with what all of its runs say."""
    order: dict[tuple[str, str], Any] = {}
    runs: dict[tuple[str, str], list[Run]] = defaultdict(list)
    sides: dict[tuple[str, str], tuple[Side, Side]] = {}
    metrics: dict[tuple[str, str], set[str]] = defaultdict(set)
    for group in groups.values():
        panel = group.place.panel if side == "rows" else _NOWHERE
        coordinate = group.place.row if side == "rows" else group.place.column
        key = (panel.name, coordinate.name)
        here = (panel.order, coordinate.order)
        order[key] = min(here, order[key]) if key in order else here
        sides[key] = (panel, coordinate)
        runs[key].extend(group.runs)
        metrics[key].add(group.metric)
    what = spec.rows if side == "rows" else spec.columns
    paired = what in ("pair", "teacher")
    several = len(spec.metrics) > 1
    return [
        Head(
            name=sides[key][1].name,
            printed=sides[key][1].printed,
            panel=sides[key][0].name,
            panel_printed=sides[key][0].printed,
            group=runs[key][0].group if what == "distiller" else None,
            ours=what == "distiller" and runs[key][0].ours,
            against=runs[key][0].against if what == "distiller" else None,
            teacher=teacher_head(runs[key], teachers) if paired else None,
            student=alone.get((runs[key][0].dataset, runs[key][0].student)) if what == "pair" else None,
            metric=next(iter(metrics[key])) if several and len(metrics[key]) == 1 else "",
            cite=_cited(runs[key][0]) if what == "distiller" else "",
            side=what,
        )
        for key in sorted(order, key=lambda key: order[key])
    ]


def _cited(run: Run) -> str:
    """The keys of the method's paper and of whose constants it was run with: DKD with Logit Standardization."""
    return ",".join(dict.fromkeys(filter(None, [*cite_key(run.distiller).split(","), *preset_keys(run.sources)])))


def alone_accuracies(runs: Iterable[Run]) -> Alone:
    """Of the final runs of `none`, one setting a student; None where there are several or none is finished."""
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if run.distiller == "none" and run.value is not None:
            found[run.dataset, run.student][run.setting_key].append(run.value)
    return {
        key: statistics.mean(next(iter(settings.values()))) if len(settings) == 1 else None
        for key, settings in found.items()
    }


def teacher_head(runs: Sequence[Run], teachers: Mapping[str, Run]) -> TeacherHead | None:
    """The teacher of a pair with its accuracy; without one where the pair's rows had teachers of different settings."""
    name = next((run.teacher for run in runs if run.teacher), None)
    if name is None:
        return None
    ids = sorted({run.teacher_run_id for run in runs if run.teacher_run_id})
    if len(ids) == 1 and "+" in ids[0]:
        members = [(run_id, teachers.get(run_id)) for run_id in ids[0].split(" + ")]
        each = tuple(member.value if member is not None else None for _, member in members)
        imported = any(member is not None and member.distiller == "imported" for _, member in members)
        return TeacherHead(name, None, tuple(run_id for run_id, _ in members), imported, each)
    known = [teachers[run_id] for run_id in ids if run_id in teachers]
    one_setting = len({teacher.setting_key for teacher in known}) == 1
    values = [teacher.value for teacher in known if teacher.value is not None] if one_setting else []
    imported = any(teacher.distiller == "imported" for teacher in known)
    return TeacherHead(name, statistics.mean(values), tuple(ids), imported)
