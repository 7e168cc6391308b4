"""Results column by column: what the tidy frame is made of. A study of 100,000 runs is read in seconds."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from kdharness.core.records import run_id_of
from kdharness.results import schema
from kdharness.results.checksums import refuse_changed, refuse_holes
from kdharness.results.database import Database, damaged
from kdharness.results.encoding import among, join_value, listing, metric_crc, moment
from kdharness.results.studies import study_id_of

_READ = {
    "run_id": schema.Run.run_id, "setting_key": schema.Run.setting_key, "numerics_keys": schema.Run.numerics_keys,
    "seed": schema.Run.seed, "purpose": schema.StudyLabel.purpose, "dataset": schema.Setting.dataset,
    "student": schema.StudyLabel.student, "teacher": schema.StudyLabel.teacher, "pair": schema.StudyLabel.pair,
    "label": schema.StudyLabel.label, "group": schema.StudyLabel.group_name, "row": schema.StudyLabel.row,
    "axes": schema.StudyLabel.axes, "against": schema.StudyLabel.against, "ours": schema.StudyLabel.ours,
    "distiller": schema.Setting.distiller, "state": schema.Run.state, "attempts": schema.Run.attempts,
    "weights_sha256": schema.Run.weights_sha256, "teacher_sha256": schema.Run.teacher_sha256,
    "device": schema.Run.device, "started": schema.Run.started_ms, "finished": schema.Run.finished_ms,
    "teacher_run_id": schema.StudyLabel.teacher_run_id, "epochs": schema.Setting.epochs,
    "provenance": schema.StudyLabel.provenance,
}  # fmt: skip
"""What is read for every run that a study shows."""


def columns(database: Database, study: str, metrics: Collection[str] | None) -> dict[str, list[Any]]:
    """See Store.columns."""
    with database.read() as connection:
        refuse_holes(connection)
        study_id = study_id_of(connection, study)
        shown = (
            select(*_READ.values())
            .select_from(schema.StudyLabel)
            .join(schema.StudyRun, schema.StudyRun.study_run_id == schema.StudyLabel.study_run_id)
            .join(schema.Run, schema.Run.run_id == schema.StudyRun.run_id)
            .join(schema.Setting, schema.Setting.setting_key == schema.Run.setting_key)
            .where(schema.StudyRun.study_id == study_id)
            .order_by(schema.StudyLabel.extended, schema.StudyLabel.study_label_id)
        )
        rows = connection.execute(shown).all()
        labels = select(func.count()).select_from(schema.StudyLabel).join(schema.StudyRun)
        if connection.scalar(labels.where(schema.StudyRun.study_id == study_id)) != len(rows):
            raise damaged(f"runs of the study {study} have lost their settings")
        read = dict(zip(_READ, map(list, zip(*rows, strict=True)), strict=True)) if rows else {n: [] for n in _READ}
        settings = _settings(connection, set(read["setting_key"]))
        values = _metrics(connection, study_id, metrics)
        runs = select(schema.StudyRun.run_id).where(schema.StudyRun.study_id == study_id)
        refuse_changed(connection, schema.StudyRun, schema.StudyRun.study_id == study_id)
        refuse_changed(connection, schema.Run, schema.Run.run_id.in_(runs))
        asked = select(schema.StudyRun.study_run_id).where(schema.StudyRun.study_id == study_id)
        refuse_changed(connection, schema.StudyLabel, schema.StudyLabel.study_run_id.in_(asked))
        refuse_changed(connection, schema.Exclusion, schema.Exclusion.run_id.in_(runs))
        exclusions = select(schema.Exclusion.run_id, schema.Exclusion.reason)
        excluded = {one.run_id: one.reason for one in connection.execute(exclusions)}
    for key, *said in zip(
        read["setting_key"], *(read[name] for name in ("dataset", "distiller", "epochs")), strict=True
    ):
        form = settings[key]
        if said != [form["dataset"], form["distiller"], form["recipe"]["epochs"]]:
            raise damaged(f"the setting {key[:12]} is not what its key says")
    for run_id, key, seed in zip(read["run_id"], read["setting_key"], read["seed"], strict=True):
        if run_id != run_id_of(key, seed):
            raise damaged(f"the run {run_id} has another setting or seed than it was made with")
    return _finished(study, read, settings, values, excluded)


def _finished(
    study: str,
    read: dict[str, list[Any]],
    settings: Mapping[str, Any],
    values: Mapping[str, Mapping[str, float]],
    excluded: Mapping[str, str],
) -> dict[str, list[Any]]:
    """The columns as the frame has them, the metrics' after them."""
    parsed: dict[str, Any] = {}  # axes, provenances and numerics repeat for every seed

    def load(text: str) -> Any:
        if text not in parsed:
            parsed[text] = json.loads(text)
        return parsed[text]

    numerics, provenances = list(map(load, read.pop("numerics_keys"))), read.pop("provenance")
    of_setting = [settings[key] for key in read["setting_key"]]
    departs = {
        key: departure(settings[key], teacher)
        for key, teacher in zip(read["setting_key"], read["teacher"], strict=True)
    }
    sources = {
        (text, distiller): tuple(source for name, source in load(text).items() if name.startswith(f"{distiller}."))
        for text, distiller in zip(provenances, read["distiller"], strict=True)
    }
    return {
        **read,
        "study": [study] * len(numerics),
        "numerics_key": [keys[-1] if keys else None for keys in numerics],
        "mixed_numerics": [len(keys) > 1 for keys in numerics],
        "axes": list(map(load, read["axes"])),
        "unpublished": [load(text).get("unpublished") for text in provenances],
        "sources": [sources[pair] for pair in zip(provenances, read["distiller"], strict=True)],
        "started": list(map(moment, read["started"])),
        "finished": list(map(moment, read["finished"])),
        "constants": [form["constants"] for form in of_setting],
        "recipe": [form["recipe"] for form in of_setting],
        "excluded": list(map(excluded.get, read["run_id"])),
        "departs": [departs[key] for key in read["setting_key"]],
        **{name: [of.get(run_id, float("nan")) for run_id in read["run_id"]] for name, of in sorted(values.items())},
    }


def _settings(connection: Connection, keys: set[str]) -> dict[str, Any]:
    """Setting key -> canonical form. Raises EnvironmentRefused for one that is not what its key says."""
    table = schema.Setting
    found = {}
    asked = select(table.setting_key, table.canonical).where(table.setting_key.in_(among("keys")))
    for key, canonical in connection.execute(asked, {"keys": listing(keys)}):
        if hashlib.sha256(canonical.encode()).hexdigest() != key:
            raise damaged(f"the setting {key[:12]} is not what its key says")
        found[key] = json.loads(canonical)
    return found


def _metrics(connection: Connection, study_id: int, names: Collection[str] | None) -> dict[str, dict[str, float]]:
    """Metric -> run -> final value. Raises EnvironmentRefused for one that has changed."""
    table = schema.Metric
    runs = select(schema.StudyRun.run_id).where(schema.StudyRun.study_id == study_id)
    asked = select(table.run_id, table.name, table.value, table.nonfinite, table.crc).where(table.run_id.in_(runs))
    if names is not None:
        asked = asked.where(table.name.in_(sorted(names)))
    found: dict[str, dict[str, float]] = {}
    for run_id, name, value, nonfinite, crc in connection.execute(asked):
        if crc is not None and crc != metric_crc(run_id, name, value, nonfinite):
            raise damaged(f"{name} of run {run_id} is not the number that was committed")
        found.setdefault(name, {})[run_id] = join_value(value, nonfinite)
    return found


def departure(settings: Mapping[str, Any], teacher: str | None) -> str | None:
    """In what a run is not taught as its distiller and its pair's teacher say."""
    found = [f"teacher {settings['control']}"] if settings.get("control", "trained") != "trained" else []
    found += ["gradients matched"] if settings.get("grad_matched") else []
    taught_by = " + ".join(one["model"] for one in settings.get("teachers", ()))
    found += [f"taught by {taught_by}"] if taught_by and teacher and taught_by != teacher else []
    return ", ".join(found) or None
