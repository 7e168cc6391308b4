"""Decoded images as arrays on the disk: made once, there whole or not at all, mapped into memory ever after."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdharness.core.errors import EnvironmentRefused

MANIFEST = "manifest.json"

Arrays = Mapping[str, NDArray[Any]]


def cached(place: Path, layout: Mapping[str, tuple[str, tuple[int, ...]]], decode: Callable[[], Arrays]) -> Arrays:
    """The arrays that `layout` names with type and shape, mapped from the directory `place`; writes to them are lost.

    `decode` makes them where they are not there or not of that size; a second process waits for the first. Raises what
    `decode` raises, and EnvironmentRefused where they cannot be written.
    """
    found = _opened(place, layout)
    if found is not None:
        return found
    with _locked(place):
        found = _opened(place, layout)
        if found is None:
            _make(place, decode())
            found = _opened(place, layout)
    if found is None:
        raise EnvironmentRefused("the decoded images are not there as they were written", where=str(place))
    return found


def _opened(place: Path, layout: Mapping[str, tuple[str, tuple[int, ...]]]) -> Arrays | None:
    """The arrays; None where one of them is missing or has not the size it was made with."""
    arrays = {}
    try:
        made = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        for name, (kind, shape) in layout.items():
            path = _file(place, name)
            if path.stat().st_size != made[name]["bytes"]:
                return None
            # copy on write: torch wants memory that it may write to
            arrays[name] = np.load(path, mmap_mode="c", allow_pickle=False)
            if (arrays[name].dtype, arrays[name].shape) != (np.dtype(kind), shape):
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return arrays


def _make(place: Path, arrays: Arrays) -> None:
    beside = place.with_name(f".{place.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)  # a killed writer's leavings: the lock says that nobody is at it
    try:
        beside.mkdir()
        made = {}
        for name, array in arrays.items():
            path = _file(beside, name)
            with path.open("wb") as file:
                np.save(file, array, allow_pickle=False)
                os.fsync(file.fileno())
            with path.open("rb") as file:
                made[name] = {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}
        (beside / MANIFEST).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        beside.rename(place)
    except OSError as error:
        raise _refused(place, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = place.with_name(f".{place.name}.lock").open("w")
    except OSError as error:
        raise _refused(place, error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _file(place: Path, name: str) -> Path:
    return place / f"{name}.npy"


def _refused(place: Path, error: OSError) -> EnvironmentRefused:
    return EnvironmentRefused(
        f"the decoded images cannot be written: {error.strerror or error}",
        where=str(place),
        remedy="make space there, or name a writable directory with --data",
    )
