"""What this machine, this home and this installation are like for a study: looked at before anything is trained."""

import os
import resource
import shutil
import sqlite3
import stat
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from kdharness.core.errors import EnvironmentRefused, KdHarnessError
from kdharness.core.home import Home
from kdharness.results.database import copied_from, journal_mode, refuse_unsafe, version_of
from kdharness.results.mounts import mounted_on
from kdharness.results.owner import boot_id
from kdharness.runtime.slots import gpu_count, has_gpu_driver, usable_cores

NEEDED_BYTES = 64 << 20
"""With less nothing is begun."""
LOW_BYTES = 2 << 30
FEWEST_FILES, FEW_FILES = 64, 256
"""Open files that a process may have."""
_BUILT = 1_760_000_000
"""Seconds since 1970, in October 2025: a clock that says less is wrong."""
_MLFLOW = (3, 10)

Status = Literal["ok", "warning", "refused"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    text: str
    remedy: str = ""


def checkup(home: Home, data: Path | None = None, *, thorough: bool = False) -> list[Check]:
    """Everything that can be seen without waiting; `thorough` also asks torch for its GPUs, lists the data found and
    reads the database."""
    checks = [
        _permissions(home.root),
        _filesystem(home),
        _disk(home.root),
        _sqlite(sqlite3.sqlite_version_info),
        _database(home),
        _open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        _clock(time.time()),
        _mlflow(_version("mlflow")),
    ]
    if thorough:
        checks += [_processor(), _gpus(), _data(data or home.data)]
    return checks


def refuse(checks: list[Check], home: Home) -> None:
    """Raise EnvironmentRefused for the first check that refuses."""
    for check in checks:
        if check.status == "refused":
            raise EnvironmentRefused(check.text, where=str(home.root), remedy=check.remedy)


def _permissions(root: Path) -> Check:
    place = _nearest(root)
    remedy = "make it writable, or name another --home"
    if not place.is_dir():
        return Check("home", "refused", f"{place} is no directory", "name another --home")
    if not os.access(place, os.W_OK | os.X_OK):
        return Check("home", "refused", f"{place} cannot be written by this user", remedy)
    if place != root:
        return Check("home", "ok", f"{root} is not there yet and can be made")
    found = root.stat()
    if found.st_uid != os.geteuid():
        return Check("home", "warning", f"{root} belongs to another user", remedy)
    if stat.S_IMODE(found.st_mode) & 0o022:
        return Check("home", "warning", f"others may write to {root}", f"chmod go-w {root}")
    return Check("home", "ok", str(root))


def _filesystem(home: Home) -> Check:
    try:
        refuse_unsafe(home.results)
    except EnvironmentRefused as error:
        return Check("file system", "refused", error.what, error.remedy)
    mount = mounted_on(home.results)
    where = f"{mount.kind} ({mount.point})" if mount is not None else "unknown: /proc/self/mountinfo does not say"
    if mount is not None and mount.kind in ("tmpfs", "overlay", "ramfs"):
        gone = "with the container" if mount.kind == "overlay" else "with the next boot"
        return Check("file system", "warning", f"{where}: it is gone {gone}", "name a --home on a disk that stays")
    return Check("file system", "ok", where)


def _disk(root: Path) -> Check:
    usage = shutil.disk_usage(_nearest(root))
    text = f"{_size(usage.free)} free of {_size(usage.total)}"
    remedy = "free some space (`kdharness gc` names what is not needed), or name another --home"
    if usage.free < NEEDED_BYTES:
        return Check("disk", "refused", f"the disk is full: {text}", remedy)
    return Check("disk", "warning" if usage.free < LOW_BYTES else "ok", text, remedy if usage.free < LOW_BYTES else "")


def _sqlite(version: tuple[int, int, int]) -> Check:
    mode = journal_mode(version)
    why = "" if mode == "WAL" else ", because in WAL mode this version may corrupt a database (the WAL-reset bug; "
    why += "" if mode == "WAL" else "fixed in 3.44.6, 3.50.7 and 3.51.3)"
    return Check("SQLite", "ok", f"{'.'.join(map(str, version))}: journal {mode}{why}")


def _database(home: Home) -> Check:
    from kdharness.migrations import HEAD, VERSIONS

    try:
        version = version_of(home.results)
    except KdHarnessError as error:
        return Check("database", "refused", error.what, error.remedy)
    if version is None:
        return Check("database", "ok", "none yet")
    if version not in VERSIONS:
        text = f"version {version}, this kdharness knows up to {HEAD}"
        return Check("database", "refused", text, "upgrade kdharness, or name another --home")
    if version == HEAD and (place := copied_from(home.results)):
        text = f"a copy of the one that was {place}: if it was copied while in use, rows may be missing"
        return Check("database", "warning", text, "`kdharness db verify` looks into it; `run` takes it as its own")
    note = "" if version == HEAD else f"; `run` upgrades it to {HEAD} and keeps a backup"
    return Check("database", "ok", f"version {version}, {_size(home.results.stat().st_size)}{note}")


def _open_files(soft: int) -> Check:
    if soft == resource.RLIM_INFINITY:
        return Check("open files", "ok", "no limit")
    status: Status = "refused" if soft < FEWEST_FILES else "warning" if soft < FEW_FILES else "ok"
    return Check(
        "open files",
        status,
        f"a process may have {soft} open, a job needs about 60",
        "" if status == "ok" else "ulimit -n 1024",
    )


def _clock(now: float) -> Check:
    """Leases do not need it (they count from the boot), but reports and MLflow show it."""
    try:
        boot_id()
    except EnvironmentRefused as error:
        return Check("clock", "refused", error.what, error.remedy)
    said = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    return Check("clock", "ok" if now > _BUILT else "warning", said, "" if now > _BUILT else "set the clock")


def _mlflow(version: str | None) -> Check:
    if version is None:
        return Check("MLflow", "warning", "not installed: no mirror", 'pip install "kdharness[mlflow]"')
    old = tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < _MLFLOW
    needed = ".".join(map(str, _MLFLOW))
    remedy = f'pip install "mlflow>={needed}"' if old else ""
    return Check("MLflow", "warning" if old else "ok", f"{version}{' is too old' if old else ''}", remedy)


def _processor() -> Check:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Check("processor", "ok", f"{usable_cores()} cores, {_size(memory)} of memory")


def _gpus() -> Check:
    import torch

    count = gpu_count()
    if not count:
        if has_gpu_driver():
            built = f"torch {torch.__version__} cannot use it"
            return Check("GPU", "warning", f"there is a driver, but {built}", "install torch for this driver")
        return Check("GPU", "ok", f"none; torch {torch.__version__} trains on the CPU")
    names = []
    for number in range(count):
        free, total = torch.cuda.mem_get_info(number)
        names.append(f"cuda:{number} {torch.cuda.get_device_name(number)}, {_size(free)} free of {_size(total)}")
    return Check("GPU", "ok", f"{'; '.join(names)} (torch {torch.__version__})")


def _data(place: Path) -> Check:
    if not place.is_dir():
        return Check("data", "ok", f"nothing yet in {place}: CIFAR is downloaded, digits needs nothing")
    names = sorted(one.name for one in place.iterdir() if not one.name.startswith("."))
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return Check("data", "ok", f"in {place}: {shown or 'nothing yet'}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _nearest(path: Path) -> Path:
    """The path, or the lowest part of it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
