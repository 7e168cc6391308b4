"""What a folder of images holds, by content: hashed once, remembered beside the cache by size and modification time."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.datasets.images import first_five, header_size, quiet
from kdharness.datasets.trees import PARTS, Tar, Tree, open_tree, remedy_for_parts

VERSION = 1
INDEX = ".folders"
"""The directory of the indexes in the data directory."""


class ImageFile(NamedTuple):
    """One file of a class directory."""

    path: str
    size: int
    sha256: str
    mtime_ns: int
    """0 in a tar, which is stamped as a whole."""
    width: int
    """By its header; 0 where it is no image."""
    height: int


@dataclass(frozen=True)
class Index:
    """A whole folder."""

    version: int
    stamp: str
    """Hash of what says cheaply whether anything has changed."""
    content: str
    """SHA-256 over every image file's path, size and content."""
    prefix: str
    """The directory that holds all of a tar, with its slash."""
    counts: Mapping[str, int]
    """Class directory (`train/cat`, or `cat` in one tree) -> images in it."""
    shape: tuple[int, int]
    """Height and width of the first image that is one; (0, 0) where none is."""


class FolderIndex:
    """The index of one source in the data directory, made at the first question and whenever the source has changed."""

    def __init__(self, data: Path, source: str, *, has_parts: bool) -> None:
        self.where = data / source
        self._has_parts = has_parts
        name = hashlib.sha256(json.dumps([source, has_parts]).encode()).hexdigest()[:16]
        self._place = data / INDEX / f"{name}.jsonl"

    def tree(self) -> Tree:
        """Raises BadInput where the source is no tree."""
        return open_tree(self.where, has_parts=self._has_parts)

    def read(self) -> Index:
        """As it was written, where nothing has changed since by size and time; else read anew where it has.

        Raises BadInput for a source that is no tree of images, EnvironmentRefused where it cannot be read.
        """
        tree = self.tree()
        stamps = tree.stamps()
        known = self._known()
        if known is not None and known.stamp == _stamp(stamps, tree.directories):
            return known
        old = self._files() if known is not None else {}
        kept = {path: file for path, file in old.items() if stamps.get(path) == (file.size, file.mtime_ns)}
        index, files = self._look(tree, stamps, kept)
        self._write(index, files.values())
        return index

    def reread(self) -> Index:
        """Every file is read and hashed again. Raises BadInput, also where a file changed behind its size and time."""
        tree = self.tree()
        known, old = self._known(), self._files()
        index, files = self._look(tree, tree.stamps(), {})
        if known is not None and known.stamp == index.stamp and known.content != index.content:
            changed = [path for path in {**old, **files} if old.get(path) != files.get(path)]
            raise BadInput(
                f"{len(changed)} files have other bytes than before at the same size and date: "
                f"{first_five(dict.fromkeys(changed, ''))}",
                where=str(self.where),
                remedy="the disk may be failing: put them back from a copy; if you meant to change them, touch them",
            )
        self._write(index, files.values())
        return index

    def files(self, index: Index) -> list[ImageFile]:
        """Every image file of what was read, in order. Raises EnvironmentRefused where that is not on the disk."""
        known, files = self._known(), self._files()
        if known is None or known.content != index.content or len(files) != sum(index.counts.values()):
            self._place.unlink(missing_ok=True)
            raise EnvironmentRefused(
                "was cut, or made anew meanwhile", where=str(self._place), remedy="start again: it is made anew"
            )
        return list(files.values())

    def _files(self) -> dict[str, ImageFile]:
        try:
            with self._place.open(encoding="utf-8") as lines:
                next(lines)
                found = (ImageFile(*json.loads(line)) for line in lines)
                return {file.path: file for file in found}
        except (OSError, ValueError, TypeError, StopIteration):
            return {}

    def _known(self) -> Index | None:
        try:
            with self._place.open(encoding="utf-8") as lines:
                index = Index(**json.loads(next(lines)))
        except (OSError, ValueError, TypeError, StopIteration):
            return None
        return index if index.version == VERSION else None

    def _look(
        self, tree: Tree, stamps: Mapping[str, tuple[int, int]], kept: Mapping[str, ImageFile]
    ) -> tuple[Index, dict[str, ImageFile]]:
        """Read and hash every file but those that are known."""
        files = dict(kept)
        with quiet():
            for path, content in tree.read(skip=kept):
                if path in files:
                    raise BadInput(f"holds {path!r} twice", where=str(self.where))
                width, height = header_size(content) or (0, 0)
                mtime = stamps[path][1] if path in stamps else 0
                files[path] = ImageFile(path, len(content), hashlib.sha256(content).hexdigest(), mtime, width, height)
        prefix = self._prefix([*files, *tree.directories]) if isinstance(tree, Tar) else ""
        directories = {path.removeprefix(prefix) for path in tree.directories if path.startswith(prefix)}
        chosen = self._images({path.removeprefix(prefix): file for path, file in files.items()})
        counts = dict.fromkeys(sorted(path for path in directories if self._is_class(path)), 0)
        digest = hashlib.sha256()
        for path, file in chosen.items():
            directory = path.rpartition("/")[0]
            counts[directory] = counts.get(directory, 0) + 1
            digest.update(f"{json.dumps(path)} {file.size} {file.sha256}\n".encode())
        index = Index(
            version=VERSION,
            stamp=_stamp(stamps, tree.directories if "" not in stamps else ()),
            content=digest.hexdigest(),
            prefix=prefix,
            counts=counts,
            shape=next(((file.height, file.width) for file in chosen.values() if file.width), (0, 0)),
        )
        return index, chosen

    def _prefix(self, paths: list[str]) -> str:
        """The one directory at the top of a tar, unless it is itself a part of the tree."""
        tops = {path.split("/")[0] for path in paths}
        if len(tops) != 1 or (self._has_parts and tops <= set(PARTS)):
            return ""
        (top,) = tops
        return f"{top}/" if any("/" in path for path in paths) else ""

    def _images(self, files: Mapping[str, ImageFile]) -> dict[str, ImageFile]:
        """The files of class directories, in the order of the dataset. What lies above them is left out."""
        depth = 3 if self._has_parts else 2
        chosen = {}
        wrong = {}
        for path in sorted(files, key=lambda path: path.split("/")):
            names = path.split("/")
            if self._has_parts and names[0] not in PARTS:
                continue
            if len(names) > depth:
                wrong[path] = ""
            elif len(names) == depth:
                chosen[path] = files[path]._replace(path=path)
        if wrong:
            form = "<class>/<image>" if depth == 2 else "train/<class>/<image>"
            raise BadInput(
                f"{len(wrong):,} files lie deeper than {form}: {first_five(wrong)}",
                where=str(self.where),
                remedy="" if self._has_parts else remedy_for_parts(wrong),
            )
        try:
            "".join(chosen).encode()
        except UnicodeEncodeError:
            odd = next(path for path in chosen if any("\ud800" <= letter <= "\udfff" for letter in path))
            raise BadInput(f"a file's name is not UTF-8: {odd!a}", where=str(self.where)) from None
        return chosen

    def _is_class(self, path: str) -> bool:
        names = path.split("/")
        return len(names) == (2 if self._has_parts else 1) and (not self._has_parts or names[0] in PARTS)

    def _write(self, index: Index, files: Iterable[ImageFile]) -> None:
        lines = [json.dumps(asdict(index)), *map(json.dumps, files)]
        beside = self._place.with_name(f"{self._place.name}.{os.getpid()}")
        try:
            self._place.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
            beside.replace(self._place)
        except OSError as error:
            raise EnvironmentRefused(
                f"cannot be written: {error.strerror or error}",
                where=str(self._place),
                remedy="make space there, or name with --data a directory of your own that links to the images",
            ) from error


def _stamp(stamps: Mapping[str, tuple[int, int]], directories: Iterable[str]) -> str:
    return hashlib.sha256(json.dumps([sorted(stamps.items()), sorted(directories)]).encode()).hexdigest()
