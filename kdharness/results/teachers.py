"""Teachers that a study may name: imports, and the students of finished teacher runs."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from kdharness.core.errors import BadInput
from kdharness.results import schema
from kdharness.results.checksums import refuse_changed, seal
from kdharness.results.database import Database
from kdharness.results.encoding import dumps, known_moment, moment, now_ms
from kdharness.results.reading import metrics_of
from kdharness.results.records import ImportedTeacher, TrainedTeacher

_IMPORTS = select(schema.Teacher).where(schema.Teacher.origin == "imported").order_by(schema.Teacher.name)


def imported(database: Database) -> list[ImportedTeacher]:
    """See Store.imported_teachers."""
    with database.read() as connection:
        refuse_changed(connection, schema.Teacher, schema.Teacher.origin == "imported")
        return [_imported(row) for row in connection.execute(_IMPORTS).mappings()]


def add(
    database: Database,
    name: str,
    model: str,
    dataset: str,
    weights_sha256: str,
    path: str,
    declared_top1: float | None,
    provenance: Mapping[str, Any],
) -> ImportedTeacher:
    """See Store.add_teacher."""
    this = {"model": model, "dataset": dataset, "weights_sha256": weights_sha256}
    with database.write() as connection:
        refuse_changed(connection, schema.Teacher, schema.Teacher.origin == "imported")
        known = [_imported(row) for row in connection.execute(_IMPORTS).mappings()]
        same = [one for one in known if all(getattr(one, field) == value for field, value in this.items())]
        if same:
            if name != same[0].name:
                raise BadInput(f"these weights are here already, as {same[0].name}")
            if declared_top1 is not None:
                _update(connection, name, declared_top1=declared_top1)
            fed = provenance.get("normalization", same[0].normalization)
            if fed != same[0].normalization:  # what was measured before says nothing of it
                _update(connection, name, provenance=dumps({**same[0].provenance, "normalization": fed}))
                _update(connection, name, measured_top1=None, fingerprint=None, accepted=None, verified_ms=None)
            return _named(connection, name)
        if any(one.name == name for one in known):
            raise BadInput(f"another teacher is called {name!r} already", remedy="choose another --name")
        row = {**this, "origin": "imported", "name": name, "path": path, "declared_top1": declared_top1}
        connection.execute(insert(schema.Teacher).values(**row, provenance=dumps(dict(provenance)), added_ms=now_ms()))
        seal(connection, schema.Teacher, schema.Teacher.name == name)
        return _named(connection, name)


def verified(
    database: Database, name: str, measured_top1: float, fingerprint: str, accepted: str | None
) -> ImportedTeacher:
    """See Store.verified."""
    with database.write() as connection:
        refuse_changed(connection, schema.Teacher, schema.Teacher.name == name)
        _named(connection, name)
        found = {"measured_top1": measured_top1, "fingerprint": fingerprint, "accepted": accepted}
        _update(connection, name, **found, verified_ms=now_ms())
        return _named(connection, name)


def trained(database: Database) -> list[TrainedTeacher]:
    """See Store.trained_teachers."""
    asked = select(schema.StudyRun.run_id).join(
        schema.StudyLabel, schema.StudyLabel.study_run_id == schema.StudyRun.study_run_id
    )
    chosen = schema.Run.run_id.in_(asked.where(schema.StudyLabel.purpose == "teacher"))
    runs = (
        select(schema.Run, schema.Setting.student, schema.Setting.dataset, schema.Setting.validation)
        .join(schema.Setting, schema.Setting.setting_key == schema.Run.setting_key)
        .where(schema.Run.state == "complete", chosen)
        .order_by(schema.Setting.dataset, schema.Setting.student, schema.Run.run_id)
    )
    with database.read() as connection:
        rows = connection.execute(runs).mappings().all()
        metrics = metrics_of(connection, select(schema.Run.run_id).where(schema.Run.state == "complete", chosen))
    return [_trained(row, metrics.get(row["run_id"], {})) for row in rows]


def _named(connection: Connection, name: str) -> ImportedTeacher:
    row = connection.execute(_IMPORTS.where(schema.Teacher.name == name)).mappings().one_or_none()
    if row is None:
        raise BadInput(f"no imported teacher is called {name!r}", remedy="kdharness teachers list names them all")
    return _imported(row)


def _update(connection: Connection, name: str, **values: Any) -> None:
    connection.execute(update(schema.Teacher).where(schema.Teacher.name == name).values(**values))
    seal(connection, schema.Teacher, schema.Teacher.name == name)


def _imported(row: RowMapping) -> ImportedTeacher:
    return ImportedTeacher(
        name=row["name"],
        model=row["model"],
        dataset=row["dataset"],
        weights_sha256=row["weights_sha256"],
        declared_top1=row["declared_top1"],
        measured_top1=row["measured_top1"],
        accepted=row["accepted"],
        path=row["path"],
        added=known_moment(row["added_ms"]),
        fingerprint=row["fingerprint"],
        verified=moment(row["verified_ms"]),
        provenance=json.loads(row["provenance"] or "{}"),
    )


def _trained(row: RowMapping, metrics: Mapping[str, float]) -> TrainedTeacher:
    return TrainedTeacher(
        run_id=row["run_id"],
        model=row["student"],
        dataset=row["dataset"],
        weights_sha256=row["weights_sha256"],
        validation=row["validation"],
        test_top1=metrics.get("test_top1_last"),
        val_top1=metrics.get("val_top1_last"),
        finished=moment(row["finished_ms"]),
    )
