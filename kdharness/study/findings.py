"""Problems gathered with their places, in the words that all checks share."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kdharness.core.errors import Problem
from kdharness.study.document import Document
from kdharness.study.document import Path as Place
from kdharness.study.load import nearest, show, unknown_key


@dataclass
class Findings:
    """The problems found so far in one document."""

    document: Document
    problems: list[Problem] = field(default_factory=list)

    def say(self, place: Place, message: str, *, key: bool = False) -> None:
        """A problem at the value that stands at `place`, or at its key."""
        line, column = (self.document.key_at if key else self.document.at)(place)
        problem = Problem(line, column, " ".join(message.split()))
        if problem not in self.problems:
            self.problems.append(problem)

    def unknown(self, place: Place, kind: str, name: str, known: Iterable[str], *, key: bool = False) -> None:
        """A name that nothing has."""
        self.say(place, f"unknown {kind} {show(name)}, {nearest(name, known)}", key=key)

    def unknown_key(self, place: Place, name: str, known: Iterable[str]) -> None:
        self.say(place, unknown_key(name, known), key=True)

    def value(self, place: Place, name: str, detail: Any) -> None:
        """What pydantic says of the value of a constant or a recipe field."""
        message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        self.say(place, f"`{name}`: {message}, not {show(detail['input'])}")
