"""A study's searches: what each was asked to search, and what it came to."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import and_, select, update
from sqlalchemy.dialects import sqlite

from kdharness.results import schema
from kdharness.results.checksums import refuse_changed, seal
from kdharness.results.database import Database
from kdharness.results.encoding import dumps, now_ms
from kdharness.results.search_records import SearchRow
from kdharness.results.studies import study_id_of


def save(database: Database, study: str, searches: Sequence[SearchRow]) -> None:
    """See Store.save_searches."""
    table = schema.Search
    with database.write() as connection:
        study_id = study_id_of(connection, study)
        refuse_changed(connection, table, table.study_id == study_id)
        connection.execute(update(table).where(table.study_id == study_id).values(asked=False))
        for number, one in enumerate(searches):
            place = {"study_id": study_id, "name": one.name}
            asked = {"number": number, "asked": True, "spec": dumps(dict(one.spec))}
            statement = sqlite.insert(table).values(**place, **asked, created_ms=now_ms())
            connection.execute(statement.on_conflict_do_update(index_elements=list(place), set_=asked))
        seal(connection, table, table.study_id == study_id)


def conclude(database: Database, study: str, name: str, outcome: Mapping[str, Any] | None) -> None:
    """See Store.save_outcome."""
    table = schema.Search
    with database.write() as connection:
        this = (table.study_id == study_id_of(connection, study), table.name == name)
        refuse_changed(connection, table, and_(*this))
        text = None if outcome is None else dumps(dict(outcome))
        connection.execute(update(table).where(*this).values(outcome=text))
        seal(connection, table, *this)


def read(database: Database, study: str) -> list[SearchRow]:
    """See Store.searches."""
    table = schema.Search
    with database.read() as connection:
        of_study = table.study_id == study_id_of(connection, study)
        refuse_changed(connection, table, of_study)
        rows = connection.execute(
            select(table.name, table.spec, table.outcome, table.asked)
            .where(of_study)
            .order_by(table.asked.desc(), table.number, table.name)
        ).all()
    return [
        SearchRow(name, json.loads(spec), None if outcome is None else json.loads(outcome), asked)
        for name, spec, outcome, asked in rows
    ]
