"""What came out of each run of a study, as one hash: by it a manifest names results, and a bundle is held to them."""

import hashlib
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from kdharness.results import schema
from kdharness.results.database import Database
from kdharness.results.encoding import join_value
from kdharness.results.records import RunDigest
from kdharness.results.studies import study_id_of


def digests(database: Database, study: str) -> dict[str, RunDigest]:
    """See Store.digests."""
    with database.read() as connection:
        study_id = study_id_of(connection, study)
        asked = select(schema.StudyRun.run_id).where(schema.StudyRun.study_id == study_id)
        run, metric, epoch, kept = schema.Run, schema.Metric, schema.EpochMetric, schema.Prediction
        runs = connection.execute(
            select(run.run_id, run.setting_key, run.seed, run.state, run.weights_sha256, run.teacher_sha256)
            .where(run.run_id.in_(asked))
            .order_by(run.run_id)
        ).all()
        hashes = {row.run_id: hashlib.sha256() for row in runs}
        finals = select(metric.run_id, metric.name, metric.value, metric.nonfinite).where(metric.run_id.in_(asked))
        _add(hashes, connection.execute(finals.order_by(metric.run_id, metric.name)))
        curves = select(epoch.run_id, epoch.epoch, epoch.name, epoch.value, epoch.nonfinite)
        order = (epoch.run_id, epoch.epoch, epoch.name)
        _add(hashes, connection.execute(curves.where(epoch.run_id.in_(asked)).order_by(*order)))
        answers = select(kept.run_id, kept.packed).where(kept.run_id.in_(asked)).order_by(kept.run_id)
        for run_id, packed in connection.execute(answers):
            hashes[run_id].update(f"predictions {hashlib.sha256(packed).hexdigest()}\n".encode())
    return {
        row.run_id: RunDigest(
            row.setting_key, row.seed, row.state, row.weights_sha256, row.teacher_sha256, hashes[row.run_id].hexdigest()
        )
        for row in runs
    }


def _add(hashes: dict[str, Any], rows: Iterable[Any]) -> None:
    """A line for each number: `name hex` of a final one, `epoch name hex` of a curve's."""
    for row in rows:
        name, number = " ".join(map(str, row[1:-2])), join_value(row[-2], row[-1])
        hashes[row[0]].update(f"{name} {number.hex()}\n".encode())
