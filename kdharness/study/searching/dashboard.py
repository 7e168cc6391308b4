"""A copy of the searches for `optuna-dashboard`: written from the results, never read by a search."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdharness.core.errors import EnvironmentRefused
from kdharness.results.store import Store
from kdharness.study.searching.points import read_points
from kdharness.study.searching.record import SearchRecord
from kdharness.study.searching.sampling import distributions, load, quiet, told


def write_copy(path: Path, store: Store, study: str) -> int:
    """Bring the Optuna database at `path` up to the study's ended draws; how many it has of them.

    A search stands there as `STUDY: NAME`. One that is there with other draws is written anew, and so is a damaged
    file. Raises EnvironmentRefused where the file cannot be read or written: it may be deleted.
    """
    try:
        try:
            return _bring_up(path, store, study)
        except Exception as error:
            if not _is_damage(error):
                raise
            path.unlink()
            return _bring_up(path, store, study)
    except Exception as error:  # whatever SQLAlchemy says of a file that is locked or of another version
        raise EnvironmentRefused(
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
            where=str(path),
            remedy="it is a copy for optuna-dashboard: delete it, `kdharness search copy` writes it anew",
        ) from error


def _is_damage(error: BaseException | None) -> bool:
    """Whether SQLite says, behind whatever is made of it, that the file is no whole database."""
    while error is not None and not isinstance(error, sqlite3.DatabaseError):
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__
    return error is not None and error.sqlite_errorname in ("SQLITE_NOTADB", "SQLITE_CORRUPT")


def _bring_up(path: Path, store: Store, study: str) -> int:
    known = 0
    storage = load().storages.RDBStorage(f"sqlite:///{path}")
    try:
        for one in store.searches(study):
            if one.asked:
                record = SearchRecord.model_validate(one.spec)
                points = read_points(store, study, one.name, record)[0]
                known += _write(storage, f"{study}: {one.name}", record, points)
    finally:
        storage.remove_session()
        storage.engine.dispose()
    return known


def _write(storage: Any, name: str, record: SearchRecord, points: Sequence[Any]) -> int:
    optuna = load()
    ended = []
    for point in points:
        if not point.results[0, record.seeds[0]].ended:
            break
        ended.append(told(record, point, distributions(record.ranges)))
    directions = ["maximize", "minimize"] if record.sampler == "nsga2" else ["maximize"]
    study = optuna.create_study(study_name=name, storage=storage, directions=directions, load_if_exists=True)
    there = study.get_trials(deepcopy=False)
    same = [(one.params, one.state) for one in there] == [(one.params, one.state) for one in ended[: len(there)]]
    if not same or len(there) > len(ended):
        optuna.delete_study(study_name=name, storage=storage)
        study = optuna.create_study(study_name=name, storage=storage, directions=directions)
        there = []
    with quiet():
        study.set_metric_names([record.maximize, "student_cost"][: len(directions)])
    study.add_trials(ended[len(there) :])
    return len(ended)
