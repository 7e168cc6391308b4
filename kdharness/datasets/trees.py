"""A tree of images in class directories, read from a directory or straight out of a tar: nothing is unpacked."""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import IO

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.datasets.images import first_five

MOST_FILES, MOST_FILE_BYTES, MOST_BYTES = 500_000, 64 * 2**20, 64 * 2**30
"""Limits on a tree: files, bytes of one, bytes of all."""
MOST_HEADER_BYTES = 2**20
"""Of what stands in a tar before a file, its long name for example: `tarfile` holds all of it in memory."""
TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
PARTS = ("train", "test")
END = 1024
"""Bytes of zeros that end a tar."""


class Tree(ABC):
    """Files by path, `train/<class>/<file>` where it has parts, else `<class>/<file>`. Hidden files are left out."""

    def __init__(self, where: Path, *, has_parts: bool) -> None:
        self.where = where
        self.has_parts = has_parts
        self.directories: set[str] = set()
        """Class directories that were seen, empty ones too: known after `stamps` and `read`."""

    @abstractmethod
    def stamps(self) -> dict[str, tuple[int, int]]:
        """What changes with the content, cheaply: bytes and modification time in ns, by path (a tar: of itself).

        Raises BadInput, EnvironmentRefused.
        """

    @abstractmethod
    def read(self, skip: Container[str] = ()) -> Iterator[tuple[str, bytes]]:
        """Path and content of every file but those to skip, in any order. Raises BadInput, EnvironmentRefused."""


def open_tree(where: Path, *, has_parts: bool) -> Tree:
    """The tree at a path that is there. Raises BadInput where it is neither a directory nor a tar."""
    if where.is_dir():
        return Directory(where, has_parts=has_parts)
    if where.is_file() and where.name.endswith(TARS):
        return Tar(where, has_parts=has_parts)
    raise BadInput("is neither a directory nor a tar", where=str(where), remedy=f"a tar's name ends in {_or(TARS)}")


class Directory(Tree):
    """A directory of class directories. Links in it are followed; it is looked at no deeper than images may lie."""

    def stamps(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        wrong: dict[str, str] = {}
        self.directories = set()
        try:
            for directory in self._class_directories():
                self.directories.add(directory)
                for entry in _shown(self.where / directory):
                    path = f"{directory}/{entry.name}"
                    try:
                        facts = entry.stat()
                    except FileNotFoundError:
                        wrong[path] = "is a link to nothing"
                        continue
                    if not stat.S_ISREG(facts.st_mode):
                        wrong[path] = "is no file"
                    elif facts.st_size > MOST_FILE_BYTES:
                        wrong[path] = f"is larger than {MOST_FILE_BYTES:,} bytes"
                    found[path] = (facts.st_size, facts.st_mtime_ns)
                    if len(found) > MOST_FILES:
                        raise BadInput(f"has more than {MOST_FILES:,} files", where=str(self.where))
        except OSError as error:
            raise EnvironmentRefused(
                f"cannot be read: {error.strerror or error}", where=str(error.filename or self.where)
            ) from error
        if wrong:
            raise BadInput(
                f"in class directories only images may lie: {first_five(wrong)}",
                where=str(self.where),
                remedy="" if self.has_parts else remedy_for_parts(wrong),
            )
        if sum(size for size, _ in found.values()) > MOST_BYTES:
            raise BadInput(f"has more than {MOST_BYTES:,} bytes of images", where=str(self.where))
        return found

    def read(self, skip: Container[str] = ()) -> Iterator[tuple[str, bytes]]:
        for path in self.stamps():
            if path in skip:
                continue
            try:
                yield path, (self.where / path).read_bytes()
            except OSError as error:
                raise EnvironmentRefused(
                    f"cannot be read: {error.strerror or error}", where=str(self.where / path)
                ) from error

    def _class_directories(self) -> Iterator[str]:
        for part in PARTS if self.has_parts else ("",):
            if (self.where / part).is_dir():
                yield from (f"{part}/{one.name}".lstrip("/") for one in _shown(self.where / part) if one.is_dir())


class Tar(Tree):
    """A tar, compressed or not, read in passing; a directory that holds all of it is left out of the paths."""

    def stamps(self) -> dict[str, tuple[int, int]]:
        try:
            facts = self.where.stat()
        except OSError as error:
            raise EnvironmentRefused(f"cannot be read: {error.strerror or error}", where=str(self.where)) from error
        return {"": (facts.st_size, facts.st_mtime_ns)}

    def read(self, skip: Container[str] = ()) -> Iterator[tuple[str, bytes]]:
        count = total = 0
        self.directories = set()
        try:
            with _decompressed(self.where) as file:
                watched = _Watched(file)
                with tarfile.open(fileobj=watched, mode="r|") as tar:
                    for member in tar:
                        watched.allow(member.size + MOST_HEADER_BYTES)
                        count, total = count + 1, total + member.size
                        path = self._path(member)
                        if count > MOST_FILES or total > MOST_BYTES or member.size > MOST_FILE_BYTES:
                            raise BadInput(
                                f"holds more than {MOST_FILES:,} files, {MOST_FILE_BYTES:,} bytes in one or "
                                f"{MOST_BYTES:,} in all (at {path})",
                                where=str(self.where),
                            )
                        if any(name.startswith(".") for name in path.split("/")):
                            continue
                        if member.isdir():
                            self.directories.add(path)
                        elif path not in skip:
                            content = tar.extractfile(member)
                            yield path, content.read() if content is not None else b""
                watched.finish()
        except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise BadInput(
                f"cannot be unpacked, it may not be all there: {error}",
                where=str(self.where),
                remedy="copy or make it again",
            ) from error

    def _path(self, member: tarfile.TarInfo) -> str:
        """Without a leading `./`. Raises BadInput for what is no plain file or directory inside the tar."""
        names = [name for name in member.name.split("/") if name not in ("", ".")]
        if member.name.startswith("/") or ".." in names:
            raise BadInput(f"holds {member.name!r}, a path out of it", where=str(self.where))
        if not (member.isreg() or member.isdir()):
            raise BadInput(f"holds {member.name!r}, which is no plain file but a link or device", where=str(self.where))
        return "/".join(names)


class _Watched(io.RawIOBase):
    """Passes reads on, as many as are allowed until the next file, and remembers the last bytes: `tarfile` takes a tar
    cut between two files for a whole one.
    """

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self._last = b""
        self._read = 0
        self.allow(MOST_HEADER_BYTES)

    def allow(self, more: int) -> None:
        """So many bytes from here may be read."""
        self._most = self._read + more

    def read(self, size: int = -1) -> bytes:
        if self._read > self._most:
            raise tarfile.ReadError(f"a header of more than {MOST_HEADER_BYTES:,} bytes")
        content = self._file.read(size)
        self._read += len(content)
        self._last = (self._last + content)[-END:]
        return content

    def finish(self) -> None:
        """Read to the end, so that a compressed file is checked whole. Raises EOFError where the tar's end lacks."""
        self.allow(2 * MOST_BYTES)
        while self.read(2**20):
            if self._read > 2 * MOST_BYTES:
                raise EOFError("its end does not come")
        if self._last.strip(b"\0") or len(self._last) < END:
            raise EOFError("its end is missing")


def _shown(directory: Path) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _decompressed(where: Path) -> IO[bytes] | gzip.GzipFile:
    with where.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(where)
    if magic == b"\xfd7zXZ\0":
        return lzma.open(where)
    if magic.startswith(b"BZh"):
        return bz2.open(where)
    return where.open("rb")


def remedy_for_parts(paths: Iterable[str]) -> str:
    """What to do where a tree that has parts was taken for one that has none; nothing for other wrong paths."""
    tops = {path.split("/")[0] for path in paths}
    return "it has train and test already: leave out `test`" if tops <= set(PARTS) else ""


def _or(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
