"""The points of a study's searches, from which a search is rebuilt after any interruption."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import and_, select, update
from sqlalchemy.dialects import sqlite

from kdharness.core.records import State
from kdharness.results import schema
from kdharness.results.checksums import refuse_changed, seal
from kdharness.results.database import Database
from kdharness.results.encoding import dumps, now_ms
from kdharness.results.reading import metrics_of
from kdharness.results.search_records import Draw, DrawRun
from kdharness.results.studies import study_id_of


def save(
    database: Database,
    study: str,
    label: str,
    number: int,
    generation: int,
    params: Mapping[str, Any],
    run_id: str,
    cost: float | None,
) -> None:
    """See Store.save_draw."""
    point = {"generation": generation, "params": dumps(dict(params)), "run_id": run_id, "cost": cost}
    with database.write() as connection:
        place = {"study_id": study_id_of(connection, study), "label": label, "number": number}
        this = [getattr(schema.Draw, name) == value for name, value in place.items()]
        refuse_changed(connection, schema.Draw, and_(*this))
        statement = sqlite.insert(schema.Draw).values(**place, **point, created_ms=now_ms())
        connection.execute(statement.on_conflict_do_update(index_elements=list(place), set_=point))
        seal(connection, schema.Draw, *this)


def read(database: Database, study: str, label: str) -> list[Draw]:
    """See Store.draws."""
    with database.read() as connection:
        of_search = (schema.Draw.study_id == study_id_of(connection, study), schema.Draw.label == label)
        refuse_changed(connection, schema.Draw, and_(*of_search))
        rows = (
            connection.execute(
                select(schema.Draw, schema.Run.state)
                .join(schema.Run, schema.Run.run_id == schema.Draw.run_id)
                .where(*of_search)
                .order_by(schema.Draw.number)
            )
            .mappings()
            .all()
        )
        metrics = metrics_of(connection, select(schema.Draw.run_id).where(*of_search))
    return [
        Draw(
            label=row["label"],
            number=row["number"],
            generation=row["generation"],
            params=json.loads(row["params"]),
            run_id=row["run_id"],
            state=cast(State, row["state"]),
            metrics=metrics.get(row["run_id"], {}),
            cost=row["cost"],
            pruned_epoch=row["pruned_epoch"],
        )
        for row in rows
    ]


def give_up(database: Database, study: str, label: str, number: int, epoch: int) -> None:
    """See Store.prune_draw."""
    with database.write() as connection:
        this = (
            schema.Draw.study_id == study_id_of(connection, study),
            schema.Draw.label == label,
            schema.Draw.number == number,
        )
        refuse_changed(connection, schema.Draw, and_(*this))
        connection.execute(update(schema.Draw).where(*this).values(pruned_epoch=epoch))
        seal(connection, schema.Draw, *this)


def save_runs(database: Database, study: str, runs: Sequence[DrawRun]) -> None:
    """See Store.save_draw_runs."""
    with database.write() as connection:
        study_id = study_id_of(connection, study)
        for run in runs:
            place = {"study_id": study_id, "label": run.label, "number": run.number, "rung": run.rung, "seed": run.seed}
            statement = sqlite.insert(schema.DrawRun).values(**place, run_id=run.run_id)
            connection.execute(statement.on_conflict_do_update(index_elements=list(place), set_={"run_id": run.run_id}))
            seal(connection, schema.DrawRun, *(getattr(schema.DrawRun, name) == value for name, value in place.items()))


def read_runs(database: Database, study: str, label: str) -> list[DrawRun]:
    """See Store.draw_runs."""
    table = schema.DrawRun
    with database.read() as connection:
        of_search = (table.study_id == study_id_of(connection, study), table.label == label)
        refuse_changed(connection, table, and_(*of_search))
        rows = connection.execute(
            select(table.number, table.rung, table.seed, table.run_id, schema.Run.state)
            .join(schema.Run, schema.Run.run_id == table.run_id)
            .where(*of_search)
            .order_by(table.number, table.rung, table.seed)
        ).all()
        metrics = metrics_of(connection, select(table.run_id).where(*of_search))
    return [
        DrawRun(label, number, rung, seed, run_id, cast(State, state), metrics.get(run_id, {}))
        for number, rung, seed, run_id, state in rows
    ]
