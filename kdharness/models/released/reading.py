"""From the path of a foreign model file to its tensors, by a process that may do nothing else."""

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import IO, Any

import safetensors.torch
import torch
from torch import Tensor

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.models.released.child import Refused

MOST_BYTES = 4 * 2**30
_CHILD = Path(__file__).with_name("child.py")
_SITE = Path(torch.__file__).parents[1]
_OTHER_PLACE = "Name another folder in TMPDIR."
_KEPT = ("PATH", "LANG", "LD_LIBRARY_PATH", "TMPDIR")
"""All of the environment that the child sees; what torch reads from it could weaken its checks."""


@dataclass(frozen=True)
class ReleasedFile:
    """What a foreign file holds, nothing of it run."""

    weights: Mapping[str, Tensor]
    """By the file's own keys; dense, finite, on the CPU."""
    sha256: str
    """Of the file's bytes."""
    bytes: int
    format: str
    entry: str
    """The key under which the weights stood, or ""."""
    figures: Mapping[str, float]
    """What the file says of itself: epoch, accuracy, ..."""


def read_released(path: Path) -> ReleasedFile:
    """Read a checkpoint that somebody else made. Raises BadInput where it is not one, is damaged or holds code."""
    descriptor = _open(path)
    try:
        size = os.fstat(descriptor).st_size
        with open(descriptor, "rb", closefd=False) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        os.lseek(descriptor, 0, os.SEEK_SET)
        with _nameless() as plain:
            _convert(path, descriptor, plain, size)
            plain.seek(0)
            content = plain.read()
    finally:
        os.close(descriptor)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    known: dict[str, Any] = json.loads(header["__metadata__"]["kdharness"])
    return ReleasedFile(safetensors.torch.load(content), sha256, size, **known)


def _nameless() -> IO[bytes]:
    """A file that nobody else can open and that goes with this process, however that ends."""
    try:
        return TemporaryFile()
    except OSError as error:
        raise EnvironmentRefused(
            f"no temporary file can be made: {error.strerror or error}", remedy=_OTHER_PLACE
        ) from error


def _open(path: Path) -> int:
    """A descriptor of a regular file (links to one included), opened so that a pipe or device cannot hang us."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise BadInput(f"cannot be opened: {reason or error}", where=str(path)) from error
    found = os.fstat(descriptor)
    what = None
    if stat.S_ISDIR(found.st_mode):
        what = "is a directory, not a file"
    elif not stat.S_ISREG(found.st_mode):
        what = "is a pipe, device or socket, not a file"
    elif found.st_size > MOST_BYTES:
        what = f"has {found.st_size / 2**30:.1f} GiB; no classifier of the zoo needs more than {MOST_BYTES / 2**30:.0f}"
    if what is not None:
        os.close(descriptor)
        raise BadInput(what, where=str(path))
    return descriptor


def _convert(path: Path, descriptor: int, plain: IO[bytes], size: int) -> None:
    """Let the child write what the file holds as safetensors to `plain`."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(_SITE)}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", str(_CHILD)],
            stdin=descriptor,
            stdout=plain,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",
            timeout=120 + size / 2**22,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BadInput("takes too long to read: refused", where=str(path)) from error
    if done.returncode == 0:
        return
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    if done.returncode in (2, 3) and last.startswith("{"):
        refused = Refused(**json.loads(last))
        if done.returncode == 3:
            where = gettempdir()
            raise EnvironmentRefused(f"no room for the weights: {refused.what}", where=where, remedy=_OTHER_PLACE)
        raise BadInput(refused.what, where=str(path), remedy=refused.remedy)
    if done.returncode == -signal.SIGXCPU:
        raise BadInput("takes more time to read than any model of its size: refused", where=str(path))
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise BadInput(f"made the process that reads it die ({name}): refused", where=str(path))
    raise EnvironmentRefused(
        f"the process that reads model files failed: {last or f'exit code {done.returncode}'}", where=str(path)
    )
