"""What people say of runs and studies: notes, tags, and which runs no mean takes. Nothing here touches a result."""

import re
from collections.abc import Sequence

from sqlalchemy import Connection, Select, delete, insert, select
from sqlalchemy.dialects import sqlite

from kdharness.core.errors import BadInput
from kdharness.results import outbox, schema
from kdharness.results.checksums import refuse_changed, seal
from kdharness.results.database import Database
from kdharness.results.encoding import known_moment, now_ms
from kdharness.results.records import Marks, Note
from kdharness.results.studies import study_id_of

TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LONGEST_NOTE = 2000


def note_run(database: Database, run_id: str, text: str) -> None:
    """See Store.note_run."""
    text = _plain(text)
    with database.write() as connection:
        _known(connection, [run_id])
        _note(connection, run_id, text)
        outbox.mark_runs(connection, [run_id], "state")


def note_study(database: Database, study: str, text: str) -> None:
    """See Store.note_study."""
    text = _plain(text)
    with database.write() as connection:
        row = {"study_id": study_id_of(connection, study), "text": text, "at_ms": now_ms()}
        connection.execute(insert(schema.Note), row)


def study_notes(database: Database, study: str) -> list[Note]:
    """See Store.study_notes."""
    with database.read() as connection:
        table = schema.Note
        of_study = table.study_id == study_id_of(connection, study)
        rows = connection.execute(select(table.text, table.at_ms).where(of_study).order_by(table.note_id))
        return [Note(text, known_moment(at_ms)) for text, at_ms in rows]


def tag(database: Database, run_id: str, names: Sequence[str], remove: Sequence[str]) -> None:
    """See Store.tag."""
    for name in names:
        if not TAG.fullmatch(name):
            raise BadInput(f"{name!r} is no tag", remedy="use letters, digits, `.`, `_` and `-`, at most 64 of them")
    table = schema.RunTag
    with database.write() as connection:
        _known(connection, [run_id])
        if remove:
            connection.execute(delete(table).where(table.run_id == run_id, table.name.in_(remove)))
        if names:
            new = insert(table).prefix_with("OR IGNORE")
            connection.execute(new, [{"run_id": run_id, "name": name} for name in names])
        outbox.mark_runs(connection, [run_id], "state")


def exclude(database: Database, run_ids: Sequence[str], reason: str) -> None:
    """See Store.exclude."""
    reason = _plain(reason)
    table = schema.Exclusion
    with database.write() as connection:
        _known(connection, run_ids)
        for run_id in run_ids:
            statement = sqlite.insert(table).values(run_id=run_id, reason=reason, at_ms=now_ms())
            connection.execute(statement.on_conflict_do_update(index_elements=["run_id"], set_={"reason": reason}))
            _note(connection, run_id, f"excluded: {reason}")
        seal(connection, table, table.run_id.in_(run_ids))
        outbox.mark_runs(connection, run_ids, "state")


def include(database: Database, run_ids: Sequence[str]) -> int:
    """See Store.include."""
    table = schema.Exclusion
    with database.write() as connection:
        _known(connection, run_ids)
        excluded = list(connection.scalars(select(table.run_id).where(table.run_id.in_(run_ids))))
        connection.execute(delete(table).where(table.run_id.in_(excluded)))
        for run_id in excluded:
            _note(connection, run_id, "included again")
        outbox.mark_runs(connection, excluded, "state")
    return len(excluded)


def marks_of(connection: Connection, run_ids: Select[str]) -> dict[str, Marks]:
    """Run -> what is said of it; the others are absent."""
    notes: dict[str, list[Note]] = {}
    tags: dict[str, list[str]] = {}
    note, word, exclusion = schema.Note, schema.RunTag, schema.Exclusion
    written = select(note.run_id, note.text, note.at_ms).where(note.run_id.in_(run_ids)).order_by(note.note_id)
    for run_id, text, at_ms in connection.execute(written):
        notes.setdefault(run_id or "", []).append(Note(text, known_moment(at_ms)))
    for run_id, name in connection.execute(
        select(word.run_id, word.name).where(word.run_id.in_(run_ids)).order_by(word.name)
    ):
        tags.setdefault(run_id, []).append(name)
    of_these = select(exclusion.run_id, exclusion.reason).where(exclusion.run_id.in_(run_ids))
    refuse_changed(connection, exclusion, exclusion.run_id.in_(run_ids))
    reasons = {row.run_id: row.reason for row in connection.execute(of_these)}
    return {
        run_id: Marks(reasons.get(run_id), tuple(tags.get(run_id, ())), tuple(notes.get(run_id, ())))
        for run_id in {*notes, *tags, *reasons}
    }


def _note(connection: Connection, run_id: str, text: str) -> None:
    connection.execute(insert(schema.Note), {"run_id": run_id, "text": text, "at_ms": now_ms()})


def _known(connection: Connection, run_ids: Sequence[str]) -> None:
    """Raises BadInput for a run that is not there."""
    known = set(connection.scalars(select(schema.Run.run_id).where(schema.Run.run_id.in_(run_ids))))
    for run_id in run_ids:
        if run_id not in known:
            raise BadInput(f"unknown run {run_id!r}", remedy="`kdharness export STUDY` lists a study's runs")


def _plain(text: str) -> str:
    """Text that a terminal, a table and a tracker can all show. Raises BadInput."""
    text = text.strip()
    strange = sorted({character for character in text if not character.isprintable() and character not in "\n\t"})
    if strange:
        raise BadInput(f"the text holds {strange[0]!r}, which cannot be printed", remedy="leave such characters out")
    if not text:
        raise BadInput("the text is empty", remedy="say something that helps whoever reads it")
    if len(text) > LONGEST_NOTE:
        raise BadInput(f"the text has {len(text)} characters", remedy=f"at most {LONGEST_NOTE} are kept")
    return text
