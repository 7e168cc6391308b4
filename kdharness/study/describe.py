"""What a study's settings are, constant by constant, and where each value came from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kdharness.core.home import Home
from kdharness.core.records import Setting
from kdharness.results.store import Store
from kdharness.study.expand import expand_at
from kdharness.study.load import load_study

Flat = Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True)
class Described:
    """One setting at one place of a study."""

    label: str
    pair: str
    purpose: str
    setting_key: str | None
    """None where it names images or weights that are not here."""
    values: Flat
    """As `Setting.flat`."""
    provenance: Mapping[str, str]
    axes: Mapping[str, str | int | float | bool]
    """What tells it from the other settings of its entry."""
    run_ids: list[str] = field(default_factory=list)


def describe_file(path: Path, home: Home, data: Path | None) -> list[Described]:
    """The settings that a study file asks for. Raises StudyError."""
    wanted = expand_at(load_study(path), home, data).wanted
    return _grouped(
        (run.label, run.pair, run.purpose, run.setting, run.provenance, run.axes, run.run_id) for run in wanted
    )


def describe_study(store: Store, name: str) -> list[Described]:
    """The settings that a study in the store asks for, those that its search added included."""
    rows = store.rows(name)
    settings = {row.setting_key: row.run_id for row in rows}
    by_key = {key: store.setting(run_id)[0] for key, run_id in settings.items()}
    return _grouped(
        (row.label, row.pair, row.purpose, by_key[row.setting_key], row.provenance, row.axes, row.run_id)
        for row in rows
    )


def describe_run(store: Store, run_id: str) -> Described:
    """One run's setting, as the first study that asks for it names it."""
    run = store.run(run_id)
    flat = run.setting.flat()
    if not run.rows:
        return Described(run.setting.distiller, run.setting.student, "", run.setting_key, flat, {}, {}, [run_id])
    place = run.rows[0]
    return Described(
        place.label, place.pair, place.purpose, run.setting_key, flat, place.provenance, place.axes, [run_id]
    )


def _grouped(
    rows: Iterable[tuple[str, str, str, Setting, Mapping[str, str], Mapping[str, str | int | float | bool], str]],
) -> list[Described]:
    found: dict[tuple[str, str, str, str], Described] = {}
    for label, pair, purpose, setting, provenance, axes, run_id in rows:
        key = (setting.key, label, pair, purpose)
        if key not in found:
            known = setting.key if setting.is_known else None
            found[key] = Described(label, pair, purpose, known, setting.flat(), provenance, axes)
        if setting.is_known:
            found[key].run_ids.append(run_id)
    return list(found.values())
