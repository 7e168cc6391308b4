"""What each row's constants cost to find, in sentences under a table: who searched more chose among more luck."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kdharness.reporting import names, statistics
from kdharness.reporting.methods import is_published

PAPERS, PLUGINS = "paper's constants", "plug-in's defaults"
FIXED = "fixed here"
NAMED = 5
"""So many draws that were given up stand in the sentence one by one."""


def unsearched(distiller: str) -> str:
    """What a method's constants are called where nobody has chosen them."""
    return PAPERS if is_published(distiller) else PLUGINS


def unsearched_label(label: str, distiller: str) -> str:
    """What the row is called that shows beside a searched one what nobody's choice gives."""
    return f"{label}, {unsearched(distiller)}"


def searched_label(label: str) -> str:
    """The searched row beside which the row of this label stands; any other label as it is."""
    return label.removesuffix(f", {PAPERS}").removesuffix(f", {PLUGINS}")


class Row(NamedTuple):
    """One run where the study shows it, as far as its budget is concerned."""

    label: str
    pair: str
    setting_key: str
    ours: bool
    sources: tuple[str, ...]
    """Where its constants came from; none where it has none."""
    test_top1: float | None


def budgets(rows: Sequence[Row], searches: Iterable[tuple[Mapping[str, Any], Mapping[str, Any] | None]]) -> list[str]:
    """Sentences for the study's final runs and its searches, as (spec, outcome); none where all rows are the papers'.

    A row marked ours that was chosen among more settings than another row had is a warning.
    """
    found: list[str] = []
    settings: dict[str, int] = {}
    for spec, outcome in searches:
        settings[spec["label"]] = settings.get(spec["label"], 0) + spec["draws"]
        found.append(_searched(spec, outcome, rows))
    plain: dict[str, list[str]] = {}
    for row in rows:
        if row.label not in settings and row.sources and searched_label(row.label) == row.label:
            kind = _kind(row.sources)
            if row.label not in plain.setdefault(kind, []):
                plain[kind].append(row.label)
    if not found and set(plain) <= {PAPERS}:
        return []
    found += [f"{', '.join(labels)}: {kind}." for kind, labels in plain.items()]
    ours = {row.label for row in rows if row.ours}
    others = [label for labels in plain.values() for label in labels] + list(settings)
    return ["Budgets: " + " ".join(found), *_unfair(ours, [one for one in others if one not in ours], settings)]


def _kind(sources: Sequence[str]) -> str:
    if any(source.startswith(("entry", "at ")) for source in sources):
        return FIXED
    defaults = (source.removeprefix("default of ") for source in sources if source.startswith("default of "))
    return PAPERS if all(map(is_published, defaults)) else PLUGINS


def _unfair(ours: Iterable[str], others: Sequence[str], settings: Mapping[str, int]) -> list[str]:
    found = []
    for label in sorted(ours):
        less = [other for other in others if settings.get(other, 1) < settings.get(label, 1)]
        if less:
            found.append(
                f"Warning: {label} (ours) was chosen among {settings[label]} settings, more than "
                + ", ".join(f"{other} ({settings.get(other, 1)})" for other in less)
                + "."
            )
    return found


def _searched(spec: Mapping[str, Any], outcome: Mapping[str, Any] | None, rows: Sequence[Row]) -> str:
    """`dkd: 40 settings, validation 5,000, on ResNet32×4 → ResNet8×4 (...)`."""
    axes = ", ".join(f"{name}={value}" for name, value in spec.get("axes", {}).items())
    head = spec["label"] + (f" ({axes})" if axes else "")
    pairs = ", ".join(names.pair(pair) for pair in spec["pairs"])
    said = f"{head}: {spec['draws']} settings, validation {spec['validation_images']:,}, on {pairs}"
    if outcome is None:
        return f"{said} (not chosen yet)."
    usual = PLUGINS if any(row.label == f"{spec['label']}, {PLUGINS}" for row in rows) else PAPERS
    parts = [f"validation {outcome['value']:.2f} in the search"]
    repeats = outcome["repeats"]
    if repeats:
        parts[0] += f" and {_mean(repeats)} in the repeat"
    if outcome["dropped"]:
        parts.append(f"given up on the way, in no mean: {_given_up(outcome['dropped'])}")
    for pair in spec["pairs"]:
        here = f" on {names.pair(pair)}" if len(spec["pairs"]) > 1 else ""
        test, paper = (_test(rows, pair, outcome[kind].get(pair)) for kind in ("finals", "paper"))
        parts.append(f"test{here} {test}, with the {usual} {paper}")
    return f"{said} (draw {outcome['winner']}: {'; '.join(parts)})."


def _given_up(dropped: int | Sequence[tuple[int, int]]) -> str:
    """The draws with n, the trainings that each was judged by; many are counted. An older outcome has a number only."""
    if isinstance(dropped, int):
        return f"{dropped} draws"
    if len(dropped) <= NAMED:
        return ", ".join(f"draw {number} (n = {n})" for number, n in sorted(dropped))
    counted = sorted(Counter(n for _, n in dropped).items())
    return ", ".join(f"{draws} draws with n = {n}" for n, draws in counted) + " (kdharness search show lists them)"


def _test(rows: Sequence[Row], pair: str, key: str | None) -> str:
    if key is None:
        return "not known"
    of_setting = {id(row): row for row in rows if row.setting_key == key and row.pair == pair}
    label = next((row.label for row in of_setting.values()), "")
    values = [row.test_top1 for row in of_setting.values() if row.label == label and row.test_top1 is not None]
    return _mean(values) if values else "not finished"


def _mean(values: Sequence[float]) -> str:
    """`72.05 ± 0.20 (3)`."""
    spread = statistics.std(values)
    return f"{statistics.mean(values):.2f}" + (f" ± {spread:.2f}" if spread is not None else "") + f" ({len(values)})"
