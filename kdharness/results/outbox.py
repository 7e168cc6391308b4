"""What has to be told to others: marks on (study, run) pairs, made in the transaction that makes the fact.

A mark is level-triggered: it says that the mirror is behind, not what happened. A newer mark replaces an older one
under a new id, so that striking the ids one has read never strikes a change that came after.
"""

from collections.abc import Iterable, Sequence
from typing import cast

from sqlalchemy import ColumnElement, Connection, Insert, Integer, Text, bindparam, delete, func, insert, select

from kdharness.results import schema
from kdharness.results.database import Database
from kdharness.results.encoding import among, listing, now_ms
from kdharness.results.mirror_records import OutboxRow, What


def mark_runs(connection: Connection, run_ids: Iterable[str], what: What) -> None:
    """Every study that asks for these runs has to be told."""
    connection.execute(_MARK_RUNS, {"marked": listing(run_ids), "why": what, "now": now_ms()})


def mark_asked(connection: Connection, study_run_ids: Sequence[int]) -> None:
    """These pairs are newly asked for or shown otherwise; a run that nobody began has nothing to tell yet."""
    if study_run_ids:
        connection.execute(_MARK_ASKED, {"marked": listing(study_run_ids), "why": "asked", "now": now_ms()})


def mark_one_of(connection: Connection, study_id: int) -> None:
    """The study's text changed: one of its pairs carries it to the tracker."""
    connection.execute(_MARK_FIRST, {"study": study_id, "why": "study", "now": now_ms()})


def _mark(*where: ColumnElement[bool]) -> Insert:
    """The statement that marks the pairs that fulfil `where`. Built once: building takes longer than executing."""
    behind = (
        select(schema.StudyRun.study_run_id, bindparam("why", type_=Text), bindparam("now", type_=Integer))
        .join(schema.Run, schema.Run.run_id == schema.StudyRun.run_id)
        .where(*where)
    )
    return insert(schema.Outbox).prefix_with("OR REPLACE").from_select(["study_run_id", "what", "at_ms"], behind)


def mark_all(database: Database) -> None:
    """See Store.outbox_all."""
    with database.write() as connection:
        connection.execute(_MARK_ALL, {"why": "asked", "now": now_ms()})


_MARK_ALL = _mark(schema.Run.fence > 0)
_MARK_RUNS = _mark(schema.StudyRun.run_id.in_(among("marked")))
_MARK_ASKED = _mark(schema.StudyRun.study_run_id.in_(among("marked")), schema.Run.fence > 0)
_MARK_FIRST = _mark(
    schema.StudyRun.study_run_id
    == select(func.min(schema.StudyRun.study_run_id))
    .join(schema.Run, schema.Run.run_id == schema.StudyRun.run_id)
    .where(schema.StudyRun.study_id == bindparam("study"), schema.Run.fence > 0)
    .scalar_subquery()
)


def read(database: Database, limit: int) -> list[OutboxRow]:
    """See Store.outbox."""
    query = (
        select(
            schema.Outbox.outbox_id,
            schema.Outbox.study_run_id,
            schema.Study.name,
            schema.StudyRun.run_id,
            schema.Outbox.what,
            schema.Outbox.at_ms,
        )
        .join(schema.StudyRun, schema.StudyRun.study_run_id == schema.Outbox.study_run_id)
        .join(schema.Study, schema.Study.study_id == schema.StudyRun.study_id)
        .order_by(schema.Outbox.outbox_id)
        .limit(limit)
    )
    with database.read() as connection:
        return [
            OutboxRow(number, study_run_id, study, run_id, cast(What, what), at_ms)
            for number, study_run_id, study, run_id, what, at_ms in connection.execute(query)
        ]


def size(database: Database) -> int:
    """See Store.outbox_size."""
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(schema.Outbox)).scalar_one()


def strike(database: Database, ids: Sequence[int]) -> None:
    """See Store.outbox_done."""
    if ids:
        with database.write() as connection:
            told = delete(schema.Outbox).where(schema.Outbox.outbox_id.in_(among("ids")))
            connection.execute(told, {"ids": listing(ids)})
