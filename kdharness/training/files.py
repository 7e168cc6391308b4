"""Files that are there whole or not at all, also after a power cut."""

import errno
import os
import shutil
from pathlib import Path

from kdharness.core.errors import EnvironmentRefused


def write_durably(path: Path, data: bytes) -> None:
    """Write beside, fsync, rename over `path`, fsync the directory: an earlier file stays until the new one is safe.

    Raises EnvironmentRefused when the disk is full or cannot be written; the earlier file is then untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise _refused(path, len(data), error) from error


def _refused(path: Path, size: int, error: OSError) -> EnvironmentRefused:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(path.parent).free
        return EnvironmentRefused(
            f"the disk is full: {size / 2**20:.1f} MiB needed, {free / 2**20:.1f} MiB free",
            where=str(path),
            remedy="free some space (`kdharness gc` names what is not needed) and run again: it goes on from here",
        )
    return EnvironmentRefused(
        f"cannot be written: {error.strerror or error}",
        where=str(path),
        remedy="make the directory writable, or choose another with --home",
    )
