"""The official files of a dataset, in their archive or in the directory unpacked from it, each verified by its hash."""

import hashlib
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kdharness.core.errors import BadInput, EnvironmentRefused

MOST_MEMBERS = 32
"""Of an archive; the official ones have 9 at most."""


def fingerprint(identity: str, normalization: object) -> str:
    """SHA-256 over what the official files are (a hash) and how their pixels are scaled: known without them."""
    return hashlib.sha256(f"{identity} {normalization!r}".encode()).hexdigest()


def md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def check_archive(archive: Path, md5: str, remedy: str) -> None:
    """Raises BadInput where it has another hash."""
    found = md5_of(archive)
    if found != md5:
        raise BadInput(
            f"is not the official archive, or not all of it ({archive.stat().st_size:,} bytes, md5 {found}, "
            f"expected {md5})",
            where=str(archive),
            remedy=remedy,
        )


@dataclass(frozen=True)
class OfficialFiles:
    """A few files, small enough to be read whole, in a .tar.gz or in a directory of the data directory."""

    data: Path
    url: str
    folder: str
    """The directory inside the archive."""
    files: Mapping[str, str]
    """Name -> MD5."""
    most_bytes: int
    """What the archive may unpack to."""
    md5: str | None = None
    """Of the archive; None where it is so large that the files' own must do."""

    @property
    def archive(self) -> Path:
        return self.data / self.url.rpartition("/")[2]

    @property
    def unpacked(self) -> Path:
        return self.data / self.folder

    @property
    def are_there(self) -> bool:
        return self.archive.is_file() or self.unpacked.is_dir()

    def read(self) -> tuple[Path, dict[str, bytes]]:
        """Where they were found, and their contents by name. Raises BadInput, EnvironmentRefused."""
        remedy = f"delete it and take it again from {self.url}"
        source = self.archive if self.archive.is_file() else self.unpacked
        try:
            if source == self.archive:
                if self.md5 is not None:
                    check_archive(source, self.md5, remedy)
                found = self._members()
            else:
                found = self._unpacked()
        except OSError as error:
            raise EnvironmentRefused(f"cannot be read: {error.strerror or error}", where=str(source)) from error
        for name, md5 in self.files.items():
            if name not in found:
                raise BadInput(f"has no file {name!r}", where=str(source), remedy=remedy)
            is_md5 = hashlib.md5(found[name], usedforsecurity=False).hexdigest()
            if is_md5 != md5:
                raise BadInput(
                    f"{name} is not the official file (md5 {is_md5}, expected {md5})", where=str(source), remedy=remedy
                )
        return source, found

    def _members(self) -> dict[str, bytes]:
        """Read in passing, as far as the last that is wanted: nothing is written to the disk."""
        wanted = {f"{self.folder}/{name}": name for name in self.files}
        found: dict[str, bytes] = {}
        total = 0
        try:
            with tarfile.open(self.archive, "r|gz") as tar:
                for count, member in enumerate(tar, 1):
                    total += member.size
                    if count > MOST_MEMBERS or total > self.most_bytes:
                        raise BadInput(
                            f"unpacks to more than {self.most_bytes:,} bytes or {MOST_MEMBERS} members",
                            where=str(self.archive),
                        )
                    content = tar.extractfile(member) if member.isreg() and member.name in wanted else None
                    if content is not None:
                        found[wanted[member.name]] = content.read()
                    if len(found) == len(wanted):
                        break
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise BadInput(f"cannot be unpacked: {error}", where=str(self.archive)) from error
        return found

    def _unpacked(self) -> dict[str, bytes]:
        found = {}
        for name in self.files:
            path = self.unpacked / name
            if path.is_file():
                if path.stat().st_size > self.most_bytes:
                    raise BadInput(f"is larger than {self.most_bytes:,} bytes", where=str(path))
                found[name] = path.read_bytes()
        return found
