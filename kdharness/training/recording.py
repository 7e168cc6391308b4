"""A device that can record work and do it again: what steps, and the forward passes of teachers, are recorded by."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

Replay = Callable[[Sequence[int]], None]
"""Does the branches' work again, each drawing from its seed."""


class Recorder(Protocol):
    """A device that can record work."""

    def record(self, branches: Sequence[Callable[[], None]]) -> Replay:
        """One recording of all branches, which depend on nothing of each other. Nothing is carried out.

        Raises whatever the work raises that cannot be recorded.
        """
        ...

    def strict(self) -> AbstractContextManager[None]:
        """Inside, the device raises where it can tell that work makes the host wait for it."""
        ...

    def wait(self) -> None:
        """Until all that was asked of the device is done."""
        ...
