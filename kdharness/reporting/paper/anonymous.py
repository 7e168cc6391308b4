"""A study's texts without what says who made it: names of machines and people, paths, links."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")

NOBODY = "anonymous"

_LINK = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s,;)]+")
_PATH = re.compile(r"(?<![\w.:/])(?:~|\.{0,2}|[A-Za-z]:)[/\\](?:[^\s/\\,;:()]+[/\\])*([^\s/\\,;:()]+)")


class Scrub:
    """Takes out links, the directories of paths, and the given names; `scrub(text)` or `scrub.all(record)`."""

    def __init__(self, people: Iterable[str], paths: Sequence[str]) -> None:
        """`people`: names of machines and users; `paths`: such as stand in the studies, also relative ones."""
        self._files: Mapping[str, str] = {path: re.split(r"[/\\]", path.rstrip("/\\"))[-1] for path in paths}
        named = sorted({re.escape(name) for name in people if name}, key=len, reverse=True)
        self._people = re.compile(rf"(?<![\w-])(?:{'|'.join(named)})(?![\w-])", re.IGNORECASE) if named else None

    def __call__(self, text: str) -> str:
        """Without links and directories."""
        for path, name in self._files.items():
            text = text.replace(f"{path}/", "").replace(path, name)
        return _PATH.sub(r"\1", _LINK.sub("(link)", text))

    def words(self, text: str) -> str:
        """What a person wrote: without the names too. Not for labels: a method may be called as somebody is."""
        return self._people.sub(NOBODY, self(text)) if self._people is not None else self(text)

    def all(self, record: T) -> T:
        """The record with every text in it so changed, whatever it is made of."""
        changed: T = _changed(record, self)
        return changed


def _changed(value: Any, scrub: Scrub) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {_changed(key, scrub): _changed(one, scrub) for key, one in value.items()}
    if isinstance(value, tuple | list):
        make = getattr(value, "_make", type(value))  # of a named tuple
        return make(_changed(one, scrub) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _changed(getattr(value, one.name), scrub) for one in fields(value)})
    return value
