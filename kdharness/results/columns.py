"""Results column by column: what tables and the tidy frame are made of. A study of 100,000 runs is read in seconds."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from math import nan
from typing import Any

from sqlalchemy import Boolean, Connection, Integer, Select, String, select, type_coerce

from kdharness.core.records import run_id_of
from kdharness.results import schema
from kdharness.results.checksums import COVERED, metrics_in, refuse_changed, refuse_changed_columns, refuse_holes
from kdharness.results.database import Database, damaged
from kdharness.results.encoding import among, join_value, listing, metric_crc
from kdharness.results.studies import study_id_of

_LABELS = [(schema.StudyLabel, name) for name in (*COVERED[schema.StudyLabel], "crc")]
_RUNS = [
    *((table, name) for table in (schema.StudyRun, schema.Run) for name in (*COVERED[table], "crc")),
    (schema.Run, "setting_key"),
    (schema.Run, "seed"),
    (schema.Run, "metric_names"),
]
"""What is read of every label and run of a study, as it is stored."""

_AT_ONCE = 1000
"""Rows."""

Read = Mapping[tuple[type[schema.Table], str], list[Any]]
"""Column by column."""


def columns(database: Database, study: str, metrics: Collection[str] | None) -> dict[str, list[Any]]:
    """See Store.columns."""
    run_of, label_of = schema.StudyRun.study_run_id, schema.StudyLabel.study_run_id
    in_order = (schema.StudyLabel.extended, schema.StudyLabel.study_label_id)
    with database.read() as connection:
        refuse_holes(connection)
        study_id = study_id_of(connection, study)
        asked = schema.StudyRun.study_id == study_id
        of_runs = _select(_RUNS).join(schema.Run, schema.Run.run_id == schema.StudyRun.run_id).where(asked)
        of_labels = _select(_LABELS).join(schema.StudyRun, run_of == label_of).where(asked).order_by(*in_order)
        texts: dict[str, str] = {}
        runs, labels = _read(connection, _RUNS, of_runs, texts), _read(connection, _LABELS, of_labels, texts)
        settings = _settings(connection, set(runs[schema.Run, "setting_key"]))
        values = _metrics(connection, study_id, metrics)
        _refuse_lost(runs[schema.Run, "run_id"], runs[schema.Run, "metric_names"], values, metrics)
        ids = select(schema.StudyRun.run_id).where(asked)
        refuse_changed(connection, schema.Exclusion, schema.Exclusion.run_id.in_(ids))
        exclusions = select(schema.Exclusion.run_id, schema.Exclusion.reason)
        excluded = {one.run_id: one.reason for one in connection.execute(exclusions)}
    made_with = (runs[schema.Run, name] for name in ("run_id", "setting_key", "seed"))
    for asked_for, run_id, key, seed in zip(runs[schema.StudyRun, "run_id"], *made_with, strict=True):
        if not asked_for == run_id == run_id_of(key, seed):
            raise damaged(f"the run {asked_for} has another setting or seed than it was made with")
    places = {one: place for place, one in enumerate(runs[schema.StudyRun, "study_run_id"])}
    if not places.keys() >= set(labels[schema.StudyLabel, "study_run_id"]):
        raise damaged(f"runs of the study {study} are lost")
    of_run = {name: column for (of, name), column in runs.items() if of is schema.Run}
    shown = [places[one] for one in labels[schema.StudyLabel, "study_run_id"]]
    if shown != list(range(len(places))):
        of_run = {name: list(map(column.__getitem__, shown)) for name, column in of_run.items()}
    of_label = {name: column for (_, name), column in labels.items()}
    return _finished(study, of_run, of_label, settings, values, excluded)


def _select(names: Sequence[tuple[type[schema.Table], str]]) -> Select[Any]:
    """As SQLite gives them: a truth value is a number."""
    found = [getattr(table, name) for table, name in names]
    return select(*(type_coerce(one, Integer) if isinstance(one.type, Boolean) else one for one in found)).select_from(
        names[0][0]
    )


def _read(
    connection: Connection, names: Sequence[tuple[type[schema.Table], str]], asked: Select[Any], texts: dict[str, str]
) -> Read:
    """Some rows at a time, each held to its checksums while it is at hand; a text that comes again is kept once.

    Raises EnvironmentRefused for a row that has changed.
    """
    read: dict[tuple[type[schema.Table], str], list[Any]] = {name: [] for name in names}
    for rows in connection.execute(asked).partitions(_AT_ONCE):
        part = dict(zip(names, zip(*rows, strict=True), strict=True))
        for table in dict(names):
            refuse_changed_columns(table, {name: column for (of, name), column in part.items() if of is table})
        for (table, name), column in part.items():
            is_text = isinstance(getattr(table, name).type, String)
            read[table, name] += map(texts.setdefault, column, column) if is_text else column
    if not set(map(type, texts)) <= {str, type(None)}:
        raise damaged("a text is none")
    return read


def _finished(
    study: str,
    run: Mapping[str, list[Any]],
    label: Mapping[str, list[Any]],
    settings: Mapping[str, Any],
    values: Mapping[str, Mapping[str, float]],
    excluded: Mapping[str, str],
) -> dict[str, list[Any]]:
    """The columns as the frame has them, the metrics' after them."""
    keys, run_ids, teachers = run["setting_key"], run["run_id"], label["teacher"]
    # axes, provenances and numerics repeat for every seed, and a setting for its labels
    parsed = {text: json.loads(text) for text in {*label["axes"], *label["provenance"], *run["numerics_keys"]}}
    facts = {
        key: [form["dataset"], form["distiller"], form["recipe"]["epochs"], form["constants"], form["recipe"]]
        for key, form in settings.items()
    }
    datasets, distillers, epochs, constants, recipes = map(
        list, zip(*map(facts.__getitem__, keys), strict=True) if keys else [()] * 5
    )
    departs = {one: departure(settings[one[0]], one[1]) for one in set(zip(keys, teachers, strict=True))}
    sources = {
        (text, distiller): tuple(source for name, source in parsed[text].items() if name.startswith(f"{distiller}."))
        for text, distiller in set(zip(label["provenance"], distillers, strict=True))
    }
    return {
        **{name: run[name] for name in ("run_id", "setting_key", "seed", "state", "attempts", "device")},
        **{name: run[name] for name in ("weights_sha256", "teacher_sha256")},
        **{name: label[name] for name in ("purpose", "student", "teacher", "teacher_run_id", "pair", "label", "row")},
        "study": [study] * len(keys),
        "group": label["group_name"],
        "against": label["against"],
        "ours": list(map(bool, label["ours"])),
        "axes": list(map(parsed.__getitem__, label["axes"])),
        "started": run["started_ms"],
        "finished": run["finished_ms"],
        "numerics_key": [parsed[text][-1] if parsed[text] else None for text in run["numerics_keys"]],
        "mixed_numerics": [len(parsed[text]) > 1 for text in run["numerics_keys"]],
        "dataset": datasets,
        "distiller": distillers,
        "epochs": epochs,
        "constants": constants,
        "recipe": recipes,
        "unpublished": [parsed[text].get("unpublished") for text in label["provenance"]],
        "sources": list(map(sources.__getitem__, zip(label["provenance"], distillers, strict=True))),
        "excluded": list(map(excluded.get, run_ids)),
        "departs": list(map(departs.__getitem__, zip(keys, teachers, strict=True))),
        **{name: [of.get(run_id, nan) for run_id in run_ids] for name, of in sorted(values.items())},
    }


def _settings(connection: Connection, keys: set[str]) -> dict[str, Any]:
    """Setting key -> canonical form. Raises EnvironmentRefused for one that is lost, or not what its key says."""
    table = schema.Setting
    found = {}
    asked = select(table.setting_key, table.canonical, table.dataset, table.distiller, table.epochs).where(
        table.setting_key.in_(among("keys"))
    )
    for key, canonical, *row in connection.execute(asked, {"keys": listing(keys)}).all():
        if hashlib.sha256(str(canonical).encode()).hexdigest() == key:
            found[key] = form = json.loads(canonical)
        if key not in found or row != [form["dataset"], form["distiller"], form["recipe"]["epochs"]]:
            raise damaged(f"the setting {str(key)[:12]} is not what its key says")
    if found.keys() != keys:
        raise damaged("runs have lost their settings")
    return found


def _metrics(connection: Connection, study_id: int, names: Collection[str] | None) -> dict[str, dict[str, float]]:
    """Metric -> run -> final value. Raises EnvironmentRefused for one that has changed."""
    table = schema.Metric
    runs = select(schema.StudyRun.run_id).where(schema.StudyRun.study_id == study_id)
    asked = select(table.run_id, table.name, table.value, table.nonfinite, table.crc).where(table.run_id.in_(runs))
    if names is not None:
        asked = asked.where(table.name.in_(sorted(names)))
    found: dict[str, dict[str, float]] = {}
    for run_id, name, value, nonfinite, crc in connection.execute(asked).all():
        if crc is not None and crc != metric_crc(run_id, name, value, nonfinite):
            raise damaged(f"{name} of run {run_id} is not the number that was committed")
        found.setdefault(name, {})[run_id] = join_value(value, nonfinite)
    return found


def _refuse_lost(
    run_ids: Sequence[str],
    named: Sequence[str | None],
    values: Mapping[str, Mapping[str, float]],
    asked: Collection[str] | None,
) -> None:
    """As `refuse_lost_metrics`, of the asked metrics of many runs, most of which have the same."""
    had = {names: metrics_in(names) for names in set(named)}
    known = frozenset[str]().union(*had.values())
    for metric in known if asked is None else known.intersection(asked):
        found = values.get(metric, {})
        for run_id, names in zip(run_ids, named, strict=True):
            if run_id not in found and metric in had[names]:
                raise damaged(f"{metric} of run {run_id} is lost")


def departure(settings: Mapping[str, Any], teacher: str | None) -> str | None:
    """In what a run is not taught as its distiller and its pair's teacher say."""
    found = [f"teacher {settings['control']}"] if settings.get("control", "trained") != "trained" else []
    found += ["gradients matched"] if settings.get("grad_matched") else []
    taught_by = " + ".join(one["model"] for one in settings.get("teachers", ()))
    found += [f"taught by {taught_by}"] if taught_by and teacher and taught_by != teacher else []
    return ", ".join(found) or None
