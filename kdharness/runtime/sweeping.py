"""Tidying up after the dead: checkpoint files that no run will go on from."""

import shutil

from kdharness.core.errors import BadInput
from kdharness.core.home import Home
from kdharness.results.store import Store


def sweep(home: Home, store: Store) -> int:
    """Remove the checkpoints of complete runs, left by a job that was killed right after it had finished; how many.

    Files of unfinished runs stay: a living job may be writing them, and the run's end removes them.
    """
    folder = home.root / "checkpoints"
    removed = 0
    for of_run in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            complete = store.run(of_run.name).state == "complete"
        except BadInput:  # not ours
            continue
        if complete:
            shutil.rmtree(of_run, ignore_errors=True)
            removed += 1
    return removed
