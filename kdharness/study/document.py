"""A YAML 1.2 file as plain values that know their line and column; everything else that YAML can do is refused.

Duplicate keys, anchors, aliases, merge keys, tags, directives and further documents are problems, collected with
their places. Size, depth and the number of nodes are bounded before anything is built, so that a hostile file costs
less than a second.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from kdharness.core.errors import Problem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 30
MAX_NODES = 10_000
MAX_NUMBER = 40
"""Characters of a number."""
MAX_TEXT = 10_000
"""Characters of a single value."""

Path = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the top."""

# YAML 1.2.2, section 10.3.2 (core schema).
_NULL = re.compile(r"null|Null|NULL|~|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass
class _Node:
    line: int
    column: int
    value: Any = None
    """Of a scalar."""
    items: "list[_Node] | None" = None
    keys: "dict[str, tuple[int, int, _Node]] | None" = None

    def plain(self) -> Any:
        if self.items is not None:
            return [item.plain() for item in self.items]
        if self.keys is not None:
            return {key: node.plain() for key, (_, _, node) in self.keys.items()}
        return self.value


@dataclass
class Document:
    """What a file says, and where it says it."""

    value: Any = None
    problems: list[Problem] = field(default_factory=list)
    _root: _Node = field(default_factory=lambda: _Node(1, 1))

    def at(self, path: Path) -> tuple[int, int]:
        """Line and column (from 1) of the value at `path`; of the nearest thing around it where there is none."""
        node, line, column = self._root, self._root.line, self._root.column
        for step in path:
            if node.keys is not None and step in node.keys:
                node = node.keys[str(step)][2]
            elif node.items is not None and isinstance(step, int) and step < len(node.items):
                node = node.items[step]
            else:
                break
            line, column = node.line, node.column
        return line, column

    def key_at(self, path: Path) -> tuple[int, int]:
        """Line and column of the key that `path` ends with, where it is one."""
        node = self._find(path[:-1])
        if path and node is not None and node.keys is not None and path[-1] in node.keys:
            line, column, _ = node.keys[str(path[-1])]
            return line, column
        return self.at(path)

    def holds(self, path: Path) -> bool:
        """Whether something stands at `path`."""
        return self._find(path) is not None

    def _find(self, path: Path) -> _Node | None:
        node = self._root
        for step in path:
            if node.keys is not None and step in node.keys:
                node = node.keys[str(step)][2]
            elif node.items is not None and isinstance(step, int) and step < len(node.items):
                node = node.items[step]
            else:
                return None
        return node


class _Stop(Exception):
    """The rest of the file is not worth reading."""


def read_document(data: bytes) -> Document:
    """The file's meaning in the YAML 1.2 core schema, with every problem of form that was found."""
    document = Document()
    if len(data) > MAX_BYTES:
        document.problems.append(Problem(1, 1, f"the file has {len(data):,} bytes, more than {MAX_BYTES:,}"))
        return document
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _place(data[: error.start].decode("utf-8", "replace"))
        document.problems.append(Problem(line, column, f"byte 0x{data[error.start]:02x} is not UTF-8"))
        return document
    try:
        _Builder(document, text).build()
    except _Stop:
        pass
    except ReaderError as error:
        line, column = _place(text[: error.position])
        document.problems.append(Problem(line, column, f"the character U+{ord(text[error.position]):04X} is not text"))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        said = " ".join(part for part in (error.context, error.problem) if part) or "unreadable"
        document.problems.append(Problem(line, column, f"not YAML: {_flat(said)}"))
    except (YAMLError, ValueError, RecursionError) as error:
        document.problems.append(Problem(1, 1, f"not YAML: {_flat(str(error)) or type(error).__name__}"))
    return document


class _Builder:
    """From the parser's events to nodes, one pass, no recursion."""

    def __init__(self, document: Document, text: str) -> None:
        self.document = document
        self.text = text
        self.stack: list[_Node] = []
        self.pending: list[tuple[str, int, int] | None] = []
        """Per open mapping the key that waits for its value."""
        self.root: _Node | None = None
        self.nodes = 0

    def build(self) -> None:
        for event in self._events():
            self._take(event)
        if self.root is None or (self.root.items is None and self.root.keys is None and self.root.value is None):
            self._problem(1, 1, "the file is empty")
            return
        self.document._root = self.root
        if not self.document.problems or self.root.keys is not None:
            self.document.value = self.root.plain()

    def _events(self) -> Iterator[Any]:
        parser = YAML(typ="safe", pure=True)
        yield from parser.parse(self.text)

    def _problem(self, line: int, column: int, message: str) -> None:
        self.document.problems.append(Problem(line, column, message))

    def _take(self, event: Any) -> None:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, events.DocumentStartEvent):
            if event.version or event.tags:
                self._problem(line, column, "`%` directives are not part of a study file")
            if self.root is not None:
                self._problem(line, column, "a second document: a study is one document")
                raise _Stop
            return
        if isinstance(event, events.MappingEndEvent | events.SequenceEndEvent):
            self.stack.pop()
            self.pending.pop()
            return
        if not isinstance(event, events.NodeEvent):
            return
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._problem(line, column, f"more than {MAX_NODES:,} values")
            raise _Stop
        if isinstance(event, events.AliasEvent):
            self._problem(line, column, f"`*{event.anchor}` is an alias: write the value out")
            self._place_node(_Node(line, column), None)
            return
        if event.anchor:
            self._problem(line, column, f"`&{event.anchor}` is an anchor: write the value out where it is needed")
        tag = getattr(event, "tag", None)
        if tag:
            self._problem(line, column, f"`{tag}` is a tag: a study file holds plain values")
        if isinstance(event, events.ScalarEvent):
            plain = event.style is None or event.style == ""
            text = self._text(event.value, line, column)
            value = self._scalar(text, line, column) if plain else text
            self._place_node(_Node(line, column, value), text)
            return
        node = _Node(line, column)
        if isinstance(event, events.MappingStartEvent):
            node.keys = {}
        else:
            node.items = []
        self._place_node(node, None)
        if len(self.stack) >= MAX_DEPTH:
            self._problem(line, column, f"nested deeper than {MAX_DEPTH} levels")
            raise _Stop
        self.stack.append(node)
        self.pending.append(None)

    def _place_node(self, node: _Node, text: str | None) -> None:
        """Hang the node where it belongs; in a mapping every other one is a key."""
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        if parent.items is not None:
            parent.items.append(node)
            return
        assert parent.keys is not None
        waiting = self.pending[-1]
        if waiting is not None:
            self.pending[-1] = None
            key, line, column = waiting
            if key not in parent.keys:
                parent.keys[key] = (line, column, node)
            return
        if text is None:
            self._problem(node.line, node.column, "a key must be a plain word")
            text = f"\0{self.nodes}"  # keeps the value that follows apart from all real keys
        elif text == "<<":
            self._problem(node.line, node.column, "`<<` is a merge key: write the values out")
        elif text in parent.keys:
            first = parent.keys[text][0]
            self._problem(node.line, node.column, f"`{text}` is named twice at one level (first in line {first})")
        self.pending[-1] = (text, node.line, node.column)

    def _text(self, text: str, line: int, column: int) -> str:
        if len(text) > MAX_TEXT:
            self._problem(line, column, f"a value of {len(text):,} characters, more than {MAX_TEXT:,}")
            raise _Stop
        for character in text:
            if (ord(character) < 32 and character not in "\n\t") or 0xD800 <= ord(character) <= 0xDFFF:
                self._problem(line, column, f"the character U+{ord(character):04X} is not text")
                return "?"
        return text

    def _scalar(self, text: str, line: int, column: int) -> Any:
        if _NULL.fullmatch(text):
            return None
        if _TRUE.fullmatch(text):
            return True
        if _FALSE.fullmatch(text):
            return False
        if _NOT_FINITE.fullmatch(text):
            self._problem(line, column, f"`{text}` is not a finite number")
            return 0
        for form, base in ((_INT, 10), (_OCTAL, 8), (_HEX, 16)):
            if form.fullmatch(text):
                if len(text) > MAX_NUMBER:
                    break
                return int(text if base == 10 else text[2:], base)
        else:
            if not _FLOAT.fullmatch(text):
                return text
            number = float(text)
            if len(text) <= MAX_NUMBER and abs(number) != float("inf"):
                return number
        shown = text if len(text) <= MAX_NUMBER else text[: MAX_NUMBER - 3] + "..."
        self._problem(line, column, f"`{shown}` is too large or too long for a number")
        return 0


def _place(before: str) -> tuple[int, int]:
    """Line and column of what follows `before`."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _flat(text: str) -> str:
    """On one line, so that one problem stays one line."""
    return " ".join(text.split())
