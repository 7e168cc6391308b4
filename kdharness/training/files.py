"""Files that are there whole or not at all, also after a power cut."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdharness.core.errors import EnvironmentRefused, Unavailable


def write_durably(path: Path, data: bytes) -> None:
    """Write beside, fsync, rename over `path`, fsync the directory: an earlier file stays until the new one is safe.

    Raises Unavailable when the disk is full or cannot be written, EnvironmentRefused when the process may open no more
    files; the earlier file is then untouched, and what was begun is removed.
    """
    beside = write_beside(path, data)
    try:
        put_in_place(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_beside(path: Path, data: bytes) -> Path:
    """A durable file in the directory of `path`, under a name that nobody looks for.

    Raises as `write_durably`. A file whose fsync failed is removed and not tried again (PostgreSQL's fsync errors of
    2018): the next try writes another one.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with refusals(path, len(data)):
        make_directory(path.parent)
        try:
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    return beside


def put_in_place(beside: Path, path: Path) -> None:
    """Rename the file of `write_beside` over `path`, durably; done again it changes nothing. Raises as that does."""
    with refusals(path):
        if beside.exists() or not path.exists():
            beside.replace(path)
        _sync_names(path.parent)


@contextmanager
def refusals(path: Path, size: int | None = None) -> Iterator[None]:
    """Turn what the disk may refuse while `path` is written into Unavailable or EnvironmentRefused."""
    try:
        yield
    except OSError as error:
        raise _refused(path, size, error) from error


def make_directory(folder: Path) -> None:
    """Make it, and those above it, durably. Raises OSError."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        _sync_names(made.parent)


def too_many_files(error: OSError) -> str:
    """What EMFILE and ENFILE mean, in words."""
    whose = "this process" if error.errno == errno.EMFILE else "this machine"
    return f"{whose} has as many open files as it may"


def _sync_names(folder: Path) -> None:
    """Make the names in the directory durable."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _refused(path: Path, size: int | None, error: OSError) -> EnvironmentRefused:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(path.parent).free
        needed = "" if size is None else f"{size / 2**20:.1f} MiB needed, "
        return Unavailable(
            f"the disk is full: {needed}{free / 2**20:.1f} MiB free",
            where=str(path),
            remedy="free some space (`kdharness gc` names what is not needed) and run again: it goes on from here",
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return EnvironmentRefused(too_many_files(error), where=str(path), remedy="ulimit -n 1024")
    return Unavailable(
        f"cannot be written: {error.strerror or error}",
        where=str(path),
        remedy="make the directory writable, or choose another with --home",
    )
