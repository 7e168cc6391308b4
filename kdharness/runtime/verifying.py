"""Whether the files of a home are those that its database names: weights, imported teachers, checkpoints."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdharness.core.errors import EnvironmentRefused
from kdharness.core.home import Home
from kdharness.results.store import Store
from kdharness.runtime.garbage import REMOVED


@dataclass(frozen=True)
class File:
    """A file that the database names by its hash."""

    path: Path
    what: str
    sha256: str
    of_weights: bool
    """The hash is of the tensors, not of the file."""


def named_files(home: Home, store: Store) -> Iterator[File]:
    """All of them, whether they are there or not."""
    for teacher in store.imported_teachers():
        path = home.imported_weights(teacher.weights_sha256)
        yield File(path, f"the imported teacher {teacher.name}", teacher.weights_sha256, True)
    kept = f"run_id NOT IN (SELECT run_id FROM run_tags WHERE name = '{REMOVED}')"  # noqa: S608  our own constant
    sql = f"SELECT run_id, weights_sha256 FROM runs WHERE state = 'complete' AND {kept} ORDER BY run_id"  # noqa: S608
    _, complete = store.query(sql)
    for run_id, sha256 in complete:
        yield File(home.weights(run_id), f"the student of {run_id}", sha256, True)
    _, saved = store.query("SELECT run_id, path, sha256 FROM checkpoints ORDER BY path")
    for run_id, path, sha256 in saved:
        yield File(home.root / path, f"a checkpoint of {run_id}", sha256, False)


def wrong_with(file: File) -> str:
    """What is wrong with it; empty where it is as recorded."""
    from kdharness.training.weights import load_weights, weights_sha256

    if not file.path.exists():
        return f"{file.what} is gone: {file.path}"
    try:
        if file.of_weights:
            found = weights_sha256(load_weights(file.path))
        else:
            with file.path.open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
    except (OSError, EnvironmentRefused) as error:
        return f"{file.what} cannot be read: {' '.join(str(error).split())}"
    return "" if found == file.sha256 else f"{file.what} is damaged: {file.path} has sha256 {found[:12]}"
