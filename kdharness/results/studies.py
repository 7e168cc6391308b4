"""What studies ask for: their texts, their runs and under which labels they show them."""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from kdharness.core.errors import BadInput
from kdharness.core.records import State, WantedRun
from kdharness.results import outbox, schema
from kdharness.results.checksums import refuse_changed, seal
from kdharness.results.database import Database
from kdharness.results.encoding import among, dumps, known_moment, listing, now_ms
from kdharness.results.records import StudyChange, StudyRow, StudyText
from kdharness.results.wanted import LABEL_FIELDS, Label, Prepared, prepare


def save(
    database: Database, name: str, text: str, wanted: Sequence[WantedRun], path: str, spec: Mapping[str, Any]
) -> StudyChange:
    """See Store.save_study."""
    prepared = prepare(wanted)
    spec_json = dumps(spec)
    with database.write() as connection:
        study_id = connection.scalar(select(schema.Study.study_id).where(schema.Study.name == name))
        known = study_id is not None
        if study_id is None:
            made = insert(schema.Study).values(name=name, created_ms=now_ms()).returning(schema.Study.study_id)
            study_id = connection.execute(made).scalar_one()
        edited = _keep_text(connection, study_id, text, path, spec_json)
        change = _ask(connection, study_id, name, prepared)
        dropped = _relabel(connection, study_id, prepared, edited)
        if known and edited:
            outbox.mark_one_of(connection, study_id)
    return StudyChange(*change, dropped)


def extend(database: Database, name: str, wanted: Sequence[WantedRun]) -> StudyChange:
    """See Store.extend_study."""
    prepared = prepare(wanted)
    with database.write() as connection:
        study_id = study_id_of(connection, name)
        change = _ask(connection, study_id, name, prepared)
        shown = {run_id: {label[:3] for label in labels} for run_id, labels in _labels(connection, study_id).items()}
        added = {
            run_id: fresh
            for run_id, labels in prepared.labels.items()
            if (fresh := [label for label in labels if label[:3] not in shown.get(run_id, ())])
        }
        _insert_labels(connection, study_id, added, True)
    return StudyChange(*change, 0)


def _keep_text(connection: Connection, study_id: int, text: str, path: str, spec: str) -> bool:
    """True if the text is another than the last one kept; then it is kept too."""
    of_study = schema.StudyText.study_id == study_id
    last = connection.execute(
        select(schema.StudyText.number, schema.StudyText.text)
        .where(of_study)
        .order_by(schema.StudyText.number.desc())
        .limit(1)
    ).first()
    if last is not None and last.text == text:
        of_last = schema.StudyText.number == last.number  # all that its checksum covers is written anew
        connection.execute(update(schema.StudyText).where(of_study, of_last).values(path=path, spec=spec))
        seal(connection, schema.StudyText, of_study, of_last)
        return False
    number = 1 if last is None else last.number + 1
    row = {"study_id": study_id, "number": number, "text": text, "path": path, "spec": spec, "saved_ms": now_ms()}
    connection.execute(insert(schema.StudyText), row)
    seal(connection, schema.StudyText, of_study, schema.StudyText.number == number)
    return True


def _ask(connection: Connection, study_id: int, name: str, prepared: Prepared) -> tuple[int, int, int]:
    """Make the runs known and asked for; how many were new, complete, and known but not complete."""
    runs = select(schema.Run.run_id, schema.Run.setting_key, schema.Run.state)
    asked_runs = runs.where(schema.Run.run_id.in_(among("run_ids")))
    known = {row.run_id: row for row in connection.execute(asked_runs, {"run_ids": listing(prepared.runs)})}
    for run_id, row in known.items():
        if row.setting_key != prepared.runs[run_id]["setting_key"]:
            raise BadInput(f"two settings share the run id {run_id}", remedy="use another seed for one of them")
    keys = set(
        connection.scalars(
            select(schema.Setting.setting_key).where(schema.Setting.setting_key.in_(among("keys"))),
            {"keys": listing(prepared.settings)},
        )
    )
    _insert(connection, schema.Setting, [row for key, row in prepared.settings.items() if key not in keys])
    fresh = {"origin_study": name, "created_ms": now_ms()}
    new = [row | fresh for run_id, row in prepared.runs.items() if run_id not in known]
    _insert(connection, schema.Run, new)
    _insert(connection, schema.RunNeed, [row for row in prepared.needs if row["run_id"] not in known])
    asked = set(connection.scalars(select(schema.StudyRun.run_id).where(schema.StudyRun.study_id == study_id)))
    _insert(
        connection,
        schema.StudyRun,
        [{"study_id": study_id, "run_id": run_id} for run_id in prepared.runs if run_id not in asked],
    )
    seal(connection, schema.StudyRun, schema.StudyRun.study_id == study_id, schema.StudyRun.crc.is_(None))
    complete = sum(row.state == "complete" for row in known.values())
    return len(new), complete, len(known) - complete


def _relabel(connection: Connection, study_id: int, prepared: Prepared, edited: bool) -> int:
    """Show the study's runs under `prepared.labels` and no others; how many runs are no longer asked for.

    Labels that a search added stay unless the text was edited (the search then asks anew).
    """
    before = _labels(connection, study_id)
    by_file = {
        run_id: kept
        for run_id, labels in before.items()
        if (kept := [label for label, extended in labels.items() if edited or not extended])
    }
    if list(by_file.items()) != list(prepared.labels.items()):
        of_study = select(schema.StudyRun.study_run_id).where(schema.StudyRun.study_id == study_id)
        old = delete(schema.StudyLabel).where(schema.StudyLabel.study_run_id.in_(of_study))
        connection.execute(old if edited else old.where(schema.StudyLabel.extended.is_(False)))
        changed = [run_id for run_id, labels in prepared.labels.items() if by_file.get(run_id) != labels]
        _insert_labels(connection, study_id, prepared.labels, False, changed)
        labelled = select(schema.StudyLabel.study_run_id)
        connection.execute(
            delete(schema.StudyRun).where(
                schema.StudyRun.study_id == study_id, schema.StudyRun.study_run_id.not_in(labelled)
            )
        )
    searched = {run_id for run_id, labels in before.items() if all(labels.values())}
    return len(by_file.keys() - prepared.labels.keys() - searched)


def _labels(connection: Connection, study_id: int) -> dict[str, dict[Label, bool]]:
    """Per run the labels under which the study shows it, in order, and whether each was added by a search."""
    columns = [getattr(schema.StudyLabel, name) for name in LABEL_FIELDS]
    found: dict[str, dict[Label, bool]] = {}
    for run_id, extended, *label in connection.execute(
        select(schema.StudyRun.run_id, schema.StudyLabel.extended, *columns)
        .join(schema.StudyLabel, schema.StudyLabel.study_run_id == schema.StudyRun.study_run_id)
        .where(schema.StudyRun.study_id == study_id)
        .order_by(schema.StudyLabel.study_label_id)
    ):
        found.setdefault(run_id, {})[tuple(label)] = extended
    return found


def _insert_labels(
    connection: Connection,
    study_id: int,
    labels: Mapping[str, Sequence[Label]],
    extended: bool,
    changed: Sequence[str] | None = None,
) -> None:
    """Insert the labels; the runs (all, or only the `changed` ones) that have begun are marked for the mirror."""
    ids = {
        run_id: study_run_id
        for study_run_id, run_id in connection.execute(
            select(schema.StudyRun.study_run_id, schema.StudyRun.run_id).where(schema.StudyRun.study_id == study_id)
        )
    }
    rows = [
        dict(zip(LABEL_FIELDS, label, strict=True)) | {"study_run_id": ids[run_id], "extended": extended}
        for run_id, of_run in labels.items()
        for label in of_run
    ]
    if rows:
        connection.execute(insert(schema.StudyLabel).prefix_with("OR REPLACE"), rows)
        of_study = select(schema.StudyRun.study_run_id).where(schema.StudyRun.study_id == study_id)
        fresh = (schema.StudyLabel.crc.is_(None), schema.StudyLabel.study_run_id.in_(of_study))
        seal(connection, schema.StudyLabel, *fresh)
    outbox.mark_asked(connection, [ids[run_id] for run_id in (labels if changed is None else changed)])


def _insert(connection: Connection, table: type[schema.Table], rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def study_id_of(connection: Connection, name: str) -> int:
    """Raises BadInput for an unknown study, with a suggestion."""
    found = connection.scalar(select(schema.Study.study_id).where(schema.Study.name == name))
    if found is not None:
        return found
    names = list(connection.scalars(select(schema.Study.name).order_by(schema.Study.name)))
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "known: " + (", ".join(names[:20]) or "none")
    raise BadInput(f"unknown study {name!r}, {hint}")


def studies(database: Database, name: str | None = None) -> list[StudyRow]:
    """See Store.studies; only one of them if named. Raises BadInput for an unknown name."""
    counts = (
        select(schema.Study.study_id, schema.Run.state, func.count().label("runs"))
        .join(schema.StudyRun, schema.StudyRun.study_id == schema.Study.study_id)
        .join(schema.Run, schema.Run.run_id == schema.StudyRun.run_id)
        .group_by(schema.Study.study_id, schema.Run.state)
    )
    with database.read() as connection:
        if name is not None:
            counts = counts.where(schema.Study.study_id == study_id_of(connection, name))
        states: dict[int, dict[State, int]] = {}
        for study_id, state, runs in connection.execute(counts):
            states.setdefault(study_id, {})[cast(State, state)] = runs
        return [_study_row(row, states.get(row["study_id"], {})) for row in _newest_texts(connection, name)]


def spec(database: Database, name: str) -> dict[str, Any]:
    """See Store.spec."""
    with database.read() as connection:
        found: dict[str, Any] = json.loads(_newest_texts(connection, name)[0]["spec"])
        return found


def _newest_texts(connection: Connection, name: str | None) -> Sequence[RowMapping]:
    """The studies with the newest version of their file, by name; only one of them if named.

    Raises BadInput for an unknown name.
    """
    newest = (
        select(schema.StudyText.study_id, func.max(schema.StudyText.number).label("number"))
        .group_by(schema.StudyText.study_id)
        .subquery()
    )
    texts = (
        select(schema.Study, schema.StudyText)
        .join(newest, newest.c.study_id == schema.Study.study_id)
        .join(
            schema.StudyText,
            (schema.StudyText.study_id == newest.c.study_id) & (schema.StudyText.number == newest.c.number),
        )
        .order_by(schema.Study.name)
    )
    if name is not None:
        texts = texts.where(schema.Study.study_id == study_id_of(connection, name))
    refuse_changed(
        connection, schema.StudyText, schema.StudyText.study_id.in_(texts.with_only_columns(schema.Study.study_id))
    )
    return connection.execute(texts).mappings().all()


def _study_row(row: RowMapping, states: Mapping[State, int]) -> StudyRow:
    return StudyRow(
        name=row["name"],
        path=row["path"],
        text=row["text"],
        spec=json.loads(row["spec"]),
        texts=row["number"],
        created=known_moment(row["created_ms"]),
        changed=known_moment(row["saved_ms"]),
        states=states,
    )


def texts(database: Database, name: str) -> list[StudyText]:
    """See Store.texts."""
    with database.read() as connection:
        rows = connection.execute(
            select(schema.StudyText)
            .where(schema.StudyText.study_id == study_id_of(connection, name))
            .order_by(schema.StudyText.number)
        ).mappings()
        return [StudyText(row["number"], row["text"], row["path"], known_moment(row["saved_ms"])) for row in rows]
