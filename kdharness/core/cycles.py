"""Python's search for garbage in cycles: where it finds nothing and only takes time, and where it must go on."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_USUAL = gc.get_threshold()
_NEW_OBJECTS = 50_000


def search_rarely() -> None:
    """For a command: after as many new objects as a large library makes while it is imported."""
    gc.set_threshold(_NEW_OBJECTS)


def search_as_usual() -> None:
    """For training: a method of somebody's own may leave cycles behind at each step, with tensors in them."""
    gc.set_threshold(*_USUAL)


def exempt_all() -> None:
    """Nothing that is alive now is ever searched again, not at exit either."""
    if "triton" not in sys.modules:  # which complains at exit of whatever was not collected
        gc.freeze()


@contextmanager
def all_kept() -> Iterator[None]:
    """No search inside, and none ever of what is alive at the end: over a million objects that all stay it would take
    a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            exempt_all()
            gc.enable()
