"""A directory of files that one command writes again and again, beside files of the user's that it never touches."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdharness.core.errors import BadInput
from kdharness.training.files import write_durably

MANIFEST = "manifest.json"


def write_owned(folder: Path, files: Mapping[str, bytes], about: Mapping[str, Any]) -> list[Path]:
    """Write the files and after them the manifest, `about` with their hashes; the paths of all of them.

    Each is replaced whole. What an earlier manifest names and nobody has changed is ours: it is replaced, or removed
    where it is no longer written. Raises BadInput, before anything is written, where another file is in the way: one
    that was there before, or one of ours that somebody has edited since.
    """
    ours = _hashes(folder)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    there = {name: _hash(folder / name) for name in {*files, *ours}}
    foreign = sorted(
        name for name, found in there.items() if found is not None and found not in (ours.get(name), hashes.get(name))
    )
    if foreign:
        edited = [name for name in foreign if name in ours]
        raise BadInput(
            f"{', '.join(foreign)}: {'changed since it was written' if edited == foreign else 'there already'}",
            where=str(folder),
            remedy="nothing was written; move or delete what is yours, or name another directory",
        )
    for name in sorted(ours.keys() - files.keys()):
        (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        if there[name] != hashes[name]:
            write_durably(folder / name, content)
    told = json.dumps({**about, "files": dict(sorted(hashes.items()))}, indent=2, ensure_ascii=False, allow_nan=False)
    write_durably(folder / MANIFEST, (told + "\n").encode())
    return [folder / name for name in (*files, MANIFEST)]


def _hashes(folder: Path) -> dict[str, str]:
    """What the manifest says is ours. Raises BadInput where there is one that is not."""
    path = folder / MANIFEST
    if not path.exists():
        return {}
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {name: digest for name, digest in files.items() if _is_inside(name) and isinstance(digest, str)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput("is not a manifest of ours", where=str(path), remedy="name another directory") from error


def _is_inside(name: str) -> bool:
    """Whether a manifest's name stays in its directory: a foreign manifest deletes nothing elsewhere."""
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts


def _hash(path: Path) -> str | None:
    if path.is_symlink():
        return "a link"
    if not path.exists():
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a directory"
