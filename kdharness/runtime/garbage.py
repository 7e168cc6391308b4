"""What a home holds that nothing needs: checkpoints, weights and tables of teachers' logits, and how large they are.

Kept whatever is asked: what a running or unfinished run goes on from, the weights of every teacher of a run that a
study asks for, tables that an unfinished run may look its teacher up in, imports, and all that tables and figures
read from the database.
"""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kdharness.core.home import Home
from kdharness.results.store import Store
from kdharness.training.table_shelf import EVICTED, TableShelf, limit_bytes

REMOVED = "weights-removed"
"""The tag of a run whose weights were cleared away; `db verify` does not look for them."""
_LEFTOVER = re.compile(r"\..+\.(\d+)\.tmp")

What = Literal["checkpoints", "weights", "table", "leftover"]


@dataclass(frozen=True)
class Garbage:
    """A file or directory that nothing needs."""

    what: What
    path: Path
    bytes: int
    why: str
    run_id: str | None = None


@dataclass(frozen=True)
class _Known:
    """What the database says of its runs."""

    states: dict[str, str]
    asked: set[str]
    teachers: set[str]
    """Runs that a run which a study asks for is taught by."""
    searched: set[str]
    """Runs that studies ask for only as points of a search."""
    wanted_tables: set[tuple[str, str]]
    """Model and fingerprint of the teachers of unfinished runs."""
    checkpoints: set[str]
    """Paths that have a row."""


def find(home: Home, store: Store, *, weights: bool = False) -> list[Garbage]:
    """All of it, largest first. With `weights` also those of finished final runs that teach nobody: their results
    stay, but they can no longer be exported or analysed."""
    known = _know(store)
    found = [*_checkpoints(home, known), *_weights(home, known, weights), *_tables(home, known), *_leftovers(home)]
    return sorted(found, key=lambda one: (-one.bytes, one.path))


def remove(home: Home, store: Store, garbage: list[Garbage], *, weights: bool = False) -> list[Garbage]:
    """What was removed: of `garbage` all that nothing needs now either."""
    still = {(one.what, one.path) for one in find(home, store, weights=weights)}
    chosen = [one for one in garbage if (one.what, one.path) in still]
    # first what the database says, then the files: a file without a row is garbage, a row without a file is a loss
    store.forget_checkpoints([one.run_id for one in chosen if one.what == "checkpoints" and one.run_id])
    removed = []
    for one in chosen:
        if one.what == "weights" and one.run_id:
            store.tag(one.run_id, [REMOVED])
        if one.what == "table" and not _evict(home, one.path):
            continue
        if one.path.is_dir():
            shutil.rmtree(one.path, ignore_errors=True)
        else:
            one.path.unlink(missing_ok=True)
        removed.append(one)
    return removed


def _know(store: Store) -> _Known:
    def column(sql: str) -> set[Any]:
        return {row[0] for row in store.query(sql)[1]}

    states: dict[str, str] = dict(store.query("SELECT run_id, state FROM runs")[1])
    asked = column("SELECT run_id FROM study_runs")
    needs = store.query("SELECT run_id, needs_run_id FROM run_needs")[1]
    purposes = store.query("SELECT run_id, purpose FROM study_labels JOIN study_runs USING (study_run_id)")[1]
    otherwise = {run_id for run_id, purpose in purposes if purpose != "search"}
    unfinished = store.query(
        "SELECT run_id, canonical FROM runs JOIN settings USING (setting_key) WHERE state != 'complete'"
    )
    wanted: set[tuple[str, str]] = set()
    for run_id, canonical in unfinished[1]:
        form = json.loads(canonical) if run_id in asked else {}
        wanted |= {(teacher["model"], form["fingerprint"]) for teacher in form.get("teachers", ())}
    return _Known(
        states=states,
        asked=asked,
        teachers={need for run_id, need in needs if run_id in asked},
        searched={run_id for run_id, _ in purposes} - otherwise,
        wanted_tables=wanted,
        checkpoints=column("SELECT path FROM checkpoints"),
    )


def _checkpoints(home: Home, known: _Known) -> Iterator[Garbage]:
    folder = home.root / "checkpoints"
    for of_run in sorted(folder.iterdir()) if folder.is_dir() else ():
        state = known.states.get(of_run.name)
        if state is None or state == "running":
            continue  # not ours, or being written
        if state == "complete" or of_run.name not in known.asked:
            why = "the run is finished" if state == "complete" else "no study asks for the run"
            yield Garbage("checkpoints", of_run, _size(of_run), why, of_run.name)
            continue
        for file in sorted(of_run.rglob("*")):
            if file.is_file() and str(file.relative_to(home.root)) not in known.checkpoints:
                yield Garbage("leftover", file, _size(file), "an attempt that died left it", of_run.name)


def _weights(home: Home, known: _Known, everything: bool) -> Iterator[Garbage]:
    for run_id, state in known.states.items():
        path = home.weights(run_id)
        if state != "complete" or run_id in known.teachers or not path.exists():
            continue
        if run_id not in known.asked:
            yield Garbage("weights", path, _size(path), "no study asks for the run", run_id)
        elif run_id in known.searched:
            yield Garbage("weights", path, _size(path), "a point of a search", run_id)
        elif everything:
            yield Garbage("weights", path, _size(path), "a finished student that teaches nobody", run_id)


def _tables(home: Home, known: _Known) -> Iterator[Garbage]:
    for table in TableShelf(home.tables, limit_bytes()).tables():
        models = [str(model).partition(" ")[0] for model in table.card.get("models", ())]
        if not any((model, table.card.get("fingerprint")) in known.wanted_tables for model in models):
            yield Garbage("table", table.folder, table.bytes, f"no unfinished run is taught by {' + '.join(models)}")
    for folder in sorted(home.tables.glob(f"{EVICTED}*")) if home.tables.is_dir() else ():
        yield Garbage("leftover", folder, _size(folder), "a table that was being removed")


def _leftovers(home: Home) -> Iterator[Garbage]:
    """Files that a process which has ended was writing."""
    for folder in (home.root / "artifacts" / "runs", home.root / "teachers"):
        for path in sorted(folder.rglob(".*.tmp")) if folder.is_dir() else ():
            match = _LEFTOVER.fullmatch(path.name)
            if match and not Path("/proc", match[1]).exists():
                yield Garbage("leftover", path, _size(path), "a process that died was writing it")


def _evict(home: Home, folder: Path) -> bool:
    """Whether nobody had it open, and it is gone."""
    shelf = TableShelf(home.tables, limit_bytes())
    return any(table.folder == folder and shelf.evict(table) for table in shelf.tables())


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_blocks * 512 for file in files)
