"""What holds of printed numbers: no cell twice, percentages in range, differences that recompute, notes on cells."""

from collections import Counter
from collections.abc import Mapping

from kdharness.reporting.published.values import Printed, Registry

_DELTA = "delta_"
_PERCENT = ("top1", "top5", "top1_last", "top1_best", "ap", "ap50", "ap75", "fpr95")


def problems(registry: Registry) -> list[str]:
    """Every sentence that says what is wrong; none for a sound registry."""
    return [*_twice(registry), *_out_of_range(registry), *wrong_deltas(registry), *_idle_notes(registry)]


def deltas(registry: Registry) -> list[tuple[Printed, Printed, Printed]]:
    """(difference, its row, the row that it is taken from) of every printed difference that has both."""
    cells = {_cell(one, one.metric): one for one in registry.values}
    found = []
    for delta in registry.values:
        if delta.metric.startswith(_DELTA):
            own = cells.get(_cell(delta, delta.metric.removeprefix(_DELTA)))
            base = cells.get(_cell(delta, delta.metric.removeprefix(_DELTA), base_of(delta)))
            if own is not None and base is not None:
                found.append((delta, own, base))
    return found


def wrong_deltas(registry: Registry) -> list[str]:
    """Printed differences that are not the difference of the printed values, to the digit that is printed."""
    wrong = []
    known = {id(delta) for delta, _, _ in deltas(registry)}
    for delta, own, base in deltas(registry):
        if abs((own.value - base.value) - delta.value) > 0.5 * 10.0**-delta.decimals + 1e-9:
            wrong.append(f"{_name(delta)}: {delta.text} is printed, {own.text} - {base.text} is not that")
    for one in registry.values:
        if one.metric.startswith(_DELTA) and id(one) not in known:
            wrong.append(f"{_name(one)}: the values that it is the difference of are not there")
    return wrong


def base_of(delta: Printed) -> str:
    """The method that a printed difference is taken from: the one without `+ls`, else what its note says, else KD."""
    if delta.method.endswith("+ls"):
        return delta.method.removesuffix("+ls")
    return "mlkd" if "vs mlkd" in delta.note else "kd"


def _cell(one: Printed, metric: str, method: str | None = None) -> tuple[object, ...]:
    """Where a value stands; of the settings only what tells two cells of one method in one table apart."""
    teacher = one.setting.get("teacher_init") if "teacher_init" in one.setting else None
    return one.source, one.table, one.dataset, one.teacher, one.student, method or one.method, metric, teacher


def _twice(registry: Registry) -> list[str]:
    def identity(one: Printed) -> tuple[object, ...]:
        return (
            one.place,
            one.dataset,
            one.split,
            one.teacher,
            one.student,
            one.method,
            one.metric,
            repr(sorted(one.setting.items())),
        )

    counts = Counter(map(identity, registry.values))
    return [f"{_name(one)}: stands twice" for one in registry.values if counts[identity(one)] > 1]


def _out_of_range(registry: Registry) -> list[str]:
    percent = (one for one in registry.values if one.metric in _PERCENT)
    return [f"{_name(one)}: {one.text} is no percentage" for one in percent if not 0 <= one.value <= 100]


def _idle_notes(registry: Registry) -> list[str]:
    idle = (one for one in registry.contradictions if not any(map(one.holds, registry.values)))
    return [f"a contradiction stands on no cell: {one.text}" for one in idle]


def _name(one: Printed) -> str:
    return f"{one.place}, {one.teacher or '-'} -> {one.student or '-'}, {one.method}, {one.metric}"


def counted(registry: Registry) -> Mapping[str, int]:
    """What the check went over."""
    noted = sum(bool(registry.notes(one)) for one in registry.values)
    return {
        "values": len(registry.values),
        "sources": len({one.source for one in registry.values}),
        "tables": len(registry.tables),
        "deltas": len(deltas(registry)),
        "contradictions": len(registry.contradictions),
        "noted_values": noted,
    }
