"""What is found out about a finished student later: more final metrics, beside the headline and never instead of it."""

from collections.abc import Mapping

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects import sqlite

from kdharness.core.analyses import HEADLINE
from kdharness.core.errors import BadInput, SealedSplit
from kdharness.results import outbox, schema
from kdharness.results.checksums import metrics_in
from kdharness.results.database import Database
from kdharness.results.encoding import dumps, metric_row

_INSERT = sqlite.insert(schema.Metric)
_REPLACE = _INSERT.on_conflict_do_update(
    index_elements=["run_id", "name"], set_={name: _INSERT.excluded[name] for name in ("value", "nonfinite", "crc")}
)
_NAMED = update(schema.Run).where(schema.Run.run_id == bindparam("its_run")).values(metric_names=bindparam("names"))


def add(database: Database, run_id: str, metrics: Mapping[str, float], again: bool) -> int:
    """See Store.add_metrics."""
    headline = sorted(name for name in metrics if HEADLINE.search(name))
    if headline:
        raise BadInput(f"{', '.join(headline)} of a run is written when it is completed, and never again", where=run_id)
    run = (
        select(schema.Run.state, schema.Run.metric_names, schema.Setting.validation)
        .join(schema.Setting, schema.Setting.setting_key == schema.Run.setting_key)
        .where(schema.Run.run_id == run_id)
    )
    with database.write() as connection:
        found = connection.execute(run).one_or_none()
        if found is None:
            raise BadInput(f"there is no run {run_id!r}")
        state, names, validation = found
        if state != "complete":
            raise BadInput(f"run {run_id} is {state}: only a finished student can be analysed")
        if validation > 0 and any(name.startswith("test_") for name in metrics):
            raise SealedSplit("a search run never sees the test split", where=run_id)
        known = set(connection.scalars(select(schema.Metric.name).where(schema.Metric.run_id == run_id)))
        written = [name for name in metrics if again or name not in known]
        if written:
            connection.execute(_REPLACE, [metric_row(run_id, name, metrics[name]) for name in written])
            named = sorted(metrics_in(names).union(known, written))
            connection.execute(_NAMED, {"its_run": run_id, "names": dumps(named)})
            outbox.mark_runs(connection, [run_id], "state")
    return len(metrics.keys() - known)
