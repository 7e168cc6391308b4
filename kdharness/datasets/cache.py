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

MANIFEST, ABOUT = "manifest.json", "about.json"

Arrays = Mapping[str, NDArray[Any]]
Layout = Mapping[str, tuple[str, tuple[int, ...]]]
"""Array -> its type and shape."""
Facts = Mapping[str, Any]


def cached(
    place: Path, layout: Layout, decode: Callable[[], Arrays], describe: Callable[[Arrays], Facts] | None = None
) -> Arrays:
    """The arrays that `layout` names, mapped from the directory `place`; writes to them are lost.

    `decode` makes them where they are not there or not of that size; a second process waits for the first. What
    `describe` says of them is kept beside them. Raises what `decode` raises, and EnvironmentRefused where they cannot
    be written.
    """
    found = opened(place, layout)
    if found is not None:
        return found
    with _locked(place):
        found = opened(place, layout)
        if found is None:
            arrays = decode()
            _make(place, arrays, describe(arrays) if describe is not None else None)
            found = opened(place, layout)
    if found is None:
        raise EnvironmentRefused("the decoded images are not there as they were written", where=str(place))
    return found


def described(place: Path) -> Facts | None:
    """What was said of the arrays when they were made; None where nothing whole is there."""
    try:
        made = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        content = (place / ABOUT).read_bytes()
        facts = json.loads(content)
        whole = hashlib.sha256(content).hexdigest() == made[ABOUT]["sha256"] and isinstance(facts, dict)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return facts if whole else None


def damaged(place: Path) -> list[str]:
    """The files that are not, byte for byte, what was written. Raises EnvironmentRefused where there is no cache."""
    try:
        made = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        return [name for name, facts in made.items() if _sha256(_file(place, name)) != facts["sha256"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EnvironmentRefused(f"the decoded images cannot be read: {error}", where=str(place)) from error


def discard(place: Path) -> None:
    """Remove the arrays; they are made again when they are wanted."""
    with _locked(place):
        shutil.rmtree(place, ignore_errors=True)


def opened(place: Path, layout: Layout) -> Arrays | None:
    """The arrays; None where one of them is missing or has not the size it was made with."""
    arrays = {}
    try:
        made = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        for name, facts in made.items():
            if _file(place, name).stat().st_size != facts["bytes"]:
                return None
        for name, (kind, shape) in layout.items():
            path = _file(place, name)
            # copy on write: torch wants memory that it may write to
            arrays[name] = np.load(path, mmap_mode="c", allow_pickle=False)
            if (arrays[name].dtype, arrays[name].shape) != (np.dtype(kind), shape):
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return arrays


def _make(place: Path, arrays: Arrays, about: Facts | None) -> None:
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
            made[name] = {"sha256": _sha256(path), "bytes": path.stat().st_size}
        if about is not None:
            path = _file(beside, ABOUT)
            path.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            made[ABOUT] = {"sha256": _sha256(path), "bytes": path.stat().st_size}
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
    return place / (name if name == ABOUT else f"{name}.npy")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refused(place: Path, error: OSError) -> EnvironmentRefused:
    return EnvironmentRefused(
        f"the decoded images cannot be written: {error.strerror or error}",
        where=str(place),
        remedy="make space there, or name a writable directory with --data",
    )
