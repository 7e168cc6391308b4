"""A bundle as a file: a zip of a study's results whose manifest has the hash of every member.

Writing is the same to the last byte for the same members. Reading trusts nothing: only the names that a bundle has,
plain files, bounded sizes, each with the hash that the manifest says.
"""

import hashlib
import json
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kdharness.core.errors import BadInput

MANIFEST, DATABASE, TABLES = "manifest.json", "results.db", "tables.json"
STUDY_TEXT = "study/{number}.yaml"
PRINTED = "published/"

_NAME = re.compile(r"results\.db|tables\.json|study/[1-9][0-9]{0,5}\.yaml|published/[A-Za-z0-9_-]{1,100}\.(csv|toml)")
_BEGINNING = (1980, 1, 1, 0, 0, 0)
"""The earliest moment that a zip can name."""

MOST_BYTES = 8 * 2**30
"""Of all members together; a hundred thousand runs of 240 epochs take less."""
MOST_TEXT = 512 * 2**20
"""Of a member that is read into memory."""
MOST_MEMBERS = 10_000
_CHUNK = 2**20

_NOT_READABLE = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, OverflowError,
)  # fmt: skip
"""What `zipfile` raises for a file that only looks like one."""


class Member(BaseModel):
    """What the manifest says of one file of a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    bytes: Annotated[int, Field(ge=0, le=MOST_BYTES)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """What a bundle says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    format: Literal["kdharness bundle 1"] = "kdharness bundle 1"
    kdharness: str
    """The version that wrote it."""
    study: str
    members: dict[str, Member]
    tables: list[dict[str, Any]]
    """Each cell with its runs, and each head's teachers (`reporting.manifest`)."""
    runs: dict[str, dict[str, Any]]
    """The hashes of those runs."""


@dataclass(frozen=True)
class Opened:
    """A bundle whose members lie in a folder, each as its manifest says."""

    folder: Path
    manifest: Manifest
    sha256: str
    """Of the whole file."""


def write_bundle(target: BinaryIO, members: Mapping[str, Path | bytes], said: Mapping[str, Any]) -> None:
    """Write the members, the manifest first; `said` are the manifest's fields but `members`."""
    about = {name: _measure(content) for name, content in members.items()}
    manifest = Manifest.model_validate({**said, "members": about}).model_dump_json(indent=1) + "\n"
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in {MANIFEST: manifest.encode(), **members}.items():
            info = zipfile.ZipInfo(name, _BEGINNING)
            info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            with archive.open(info, "w", force_zip64=isinstance(content, Path)) as out:
                if isinstance(content, bytes):
                    out.write(content)
                    continue
                with content.open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        out.write(chunk)


def _measure(content: Path | bytes) -> dict[str, Any]:
    if isinstance(content, bytes):
        return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    with content.open("rb") as file:
        return {"bytes": content.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def open_bundle(path: Path, folder: Path) -> Opened:
    """Unpack the bundle into the empty `folder`. Raises BadInput for anything that is not what a bundle has."""
    try:
        if not path.is_file():
            raise BadInput("there is no such bundle", where=str(path))
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            names = _names(archive)
            manifest = _manifest(_read(archive, MANIFEST))
            if set(names) != {MANIFEST, *manifest.members}:
                other = sorted(set(names) ^ {MANIFEST, *manifest.members})
                raise BadInput(f"its manifest and its members differ: {other[0]!r}")
            if sum(member.bytes for member in manifest.members.values()) > MOST_BYTES:
                raise BadInput(f"its members take more than {MOST_BYTES:,} bytes")
            for name, member in manifest.members.items():
                _unpack(archive, name, member, folder / name)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except BadInput as error:
        raise BadInput(error.what, where=str(path), remedy=error.remedy) from error
    except _NOT_READABLE as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"this is no bundle that can be read ({what})", where=str(path)) from error
    return Opened(folder, manifest, digest)


def _names(archive: zipfile.ZipFile) -> list[str]:
    """The members' names. Raises BadInput for what a bundle never has: other names, links, one name twice."""
    entries = archive.infolist()
    if len(entries) > MOST_MEMBERS:
        raise BadInput(f"it has {len(entries):,} members, a bundle has at most {MOST_MEMBERS:,}")
    for entry in entries:
        name = entry.filename
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if name != MANIFEST and not _NAME.fullmatch(name):
            raise BadInput(f"a bundle has no member {name[:200]!r}")
        if kind not in (0, stat.S_IFREG) or entry.flag_bits & 0x1:
            raise BadInput(f"its member {name!r} is no plain file")
    names = [entry.filename for entry in entries]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BadInput(f"its member {twice[0]!r} is there twice")
    lacking = {MANIFEST, DATABASE, TABLES} - set(names)
    if lacking:
        raise BadInput(f"it lacks {', '.join(sorted(lacking))}")
    return names


def _manifest(content: bytes) -> Manifest:
    said = read_json(content, MANIFEST)
    written = said.get("format") if isinstance(said, dict) else None
    if written != Manifest.model_fields["format"].default:
        raise BadInput(f"its format is {str(written)[:100]!r}, not one that this kdharness reads")
    try:
        return Manifest.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadInput(f"its manifest is wrong at {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def read_json(content: bytes, name: str) -> Any:
    """Raises BadInput for what is no JSON."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"its {name} is no JSON ({' '.join(str(error).split())[:200]})") from error


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as member:
        content = member.read(MOST_TEXT + 1)
    if len(content) > MOST_TEXT:
        raise BadInput(f"its {name} takes more than {MOST_TEXT:,} bytes")
    return content


def _unpack(archive: zipfile.ZipFile, name: str, member: Member, target: Path) -> None:
    """Never more than the manifest says. Raises BadInput where it is not that many bytes of that hash."""
    target.parent.mkdir(exist_ok=True)
    digest, left = hashlib.sha256(), member.bytes
    with archive.open(name) as packed, target.open("xb") as out:
        while left >= 0 and (chunk := packed.read(_CHUNK)):
            left -= len(chunk)
            digest.update(chunk)
            out.write(chunk[: max(0, left + len(chunk))])
    if left != 0 or digest.hexdigest() != member.sha256:
        raise BadInput(f"its member {name} is not what its manifest says", remedy="it was changed: ask for it again")
