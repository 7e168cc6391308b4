"""Names to objects: what stands in a room's files, what entry points bring, and a suggestion for a misspelt name."""

import difflib
import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from kdharness.core.errors import UnknownName
from kdharness.core.plugins import import_plugins

T = TypeVar("T")


class Registry(Generic[T]):
    """The objects of one kind by name; look-up ignores case. The room's modules are imported at the first look-up.

    Outsiders register by an entry point in the group `kdharness.<kind>`, or by calling `add` in a module that
    `--plugin` or the user's pyproject.toml names. A broken entry point is named in a warning and passed over.
    """

    def __init__(self, kind: str, room: str, *, of_your_own: str = "") -> None:
        self.kind = kind
        self.room = room
        self.of_your_own = of_your_own
        """Said of a name that nothing has: how an outsider's is brought in."""
        self._items: dict[str, T] = {}
        self._aliases: dict[str, str] = {}
        self._loaded = False

    def add(self, name: str, *aliases: str) -> Callable[[T], T]:
        """Decorator: register under `name`; aliases resolve to it but are not listed."""

        def register(item: T) -> T:
            for key in (name, *aliases):
                taken = self._aliases.get(key.lower())
                if taken is not None and self._items[taken] is not item:
                    raise ValueError(f"{self.kind} {key!r} is registered twice")
                self._aliases[key.lower()] = name
            self._items[name] = item
            return item

        return register

    def canonical(self, name: str) -> str:
        """The listed name that `name` (in any case, or an alias) stands for. Raises UnknownName."""
        self._load()
        try:
            return self._aliases[name.lower()]
        except KeyError:
            near = difflib.get_close_matches(name.lower(), list(self._aliases), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(sorted(self._items))
            raise UnknownName(f"unknown {self.kind} {name!r}, {hint}", remedy=self.of_your_own) from None

    def get(self, name: str) -> T:
        """The object registered under `name`. Raises UnknownName."""
        return self._items[self.canonical(name)]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._items))

    def __contains__(self, name: str) -> bool:
        self._load()
        return name.lower() in self._aliases

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self.room)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.room}.{module.name}")
        import_plugins()
        for point in entry_points(group=f"kdharness.{self.kind}"):
            try:
                self.add(point.name)(point.load())
            except Exception as error:  # noqa: BLE001  an outsider's module may raise anything; it must not take us down
                warnings.warn(
                    f"{self.kind} plug-in {point.name!r} ({point.value}) is passed over: {error}", stacklevel=2
                )
