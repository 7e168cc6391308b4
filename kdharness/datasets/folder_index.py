"""What a folder of images holds, by content: hashed once, remembered beside the cache by size and modification time."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.datasets.images import first_five, header_size, quiet
from kdharness.datasets.trees import PARTS, Tar, Tree, open_tree

VERSION = 1
INDEX = ".folders"
"""The directory of the indexes in the data directory."""


@dataclass(frozen=True)
class ImageFile:
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
    total_bytes: int


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
        old = {file.path: file for file in self.files()} if known is not None else {}
        kept = {path: file for path, file in old.items() if stamps.get(path) == (file.size, file.mtime_ns)}
        return self._make(tree, stamps, kept)

    def reread(self) -> Index:
        """Every file is read and hashed again. Raises BadInput, also where a file changed behind its size and time."""
        tree = self.tree()
        stamps = tree.stamps()
        known = self._known()
        old = {file.path: file for file in self.files()} if known is not None else {}
        made = self._make(tree, stamps, {})
        if known is not None and known.stamp == made.stamp and known.content != made.content:
            new = {file.path: file for file in self.files()}
            changed = [path for path in {**old, **new} if old.get(path) != new.get(path)]
            raise BadInput(
                f"{len(changed)} files have other bytes than before at the same size and date: "
                f"{first_five(dict.fromkeys(changed, ''))}",
                where=str(self.where),
                remedy="the disk may be failing: put them back from a copy, or run the study again for what is there",
            )
        return made

    def files(self) -> list[ImageFile]:
        """Every image file in order, of the index as it is on the disk or was made by this object."""
        try:
            with self._place.open(encoding="utf-8") as lines:
                next(lines)
                return [ImageFile(*json.loads(line)) for line in lines]
        except (OSError, ValueError, TypeError, StopIteration):
            return []

    def _known(self) -> Index | None:
        try:
            with self._place.open(encoding="utf-8") as lines:
                index = Index(**json.loads(next(lines)))
        except (OSError, ValueError, TypeError, StopIteration):
            return None
        return index if index.version == VERSION else None

    def _make(self, tree: Tree, stamps: Mapping[str, tuple[int, int]], kept: Mapping[str, ImageFile]) -> Index:
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
            total_bytes=sum(file.size for file in chosen.values()),
        )
        self._write(index, chosen)
        return index

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
                chosen[path] = files[path]
        if wrong:
            form = "<class>/<image>" if depth == 2 else "train/<class>/<image>"
            raise BadInput(f"{len(wrong):,} files lie deeper than {form}: {first_five(wrong)}", where=str(self.where))
        try:
            "".join(chosen).encode()
        except UnicodeEncodeError:
            odd = next(path for path in chosen if any("\ud800" <= letter <= "\udfff" for letter in path))
            raise BadInput(f"a file's name is not UTF-8: {odd!a}", where=str(self.where)) from None
        return chosen

    def _is_class(self, path: str) -> bool:
        names = path.split("/")
        return len(names) == (2 if self._has_parts else 1) and (not self._has_parts or names[0] in PARTS)

    def _write(self, index: Index, files: Mapping[str, ImageFile]) -> None:
        lines = [json.dumps(asdict(index))]
        lines += [json.dumps([path, *list(asdict(file).values())[1:]]) for path, file in files.items()]
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
