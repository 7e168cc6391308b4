"""A thread beside training that makes durable what training hands over."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait


class Writer:
    """Does one piece of work at a time, in the order given; leaving the with-block waits for the last one.

    What a piece raises, the next call but `wait` raises, once.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._pending: Future[None] | None = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def do(self, work: Callable[[], None]) -> None:
        """Begin with `work` as soon as the piece before it is done: no more than one waits to be written."""
        self.settle()
        self._pending = self._thread.submit(work)

    def settle(self) -> None:
        """Wait until everything is done, or raise why it is not."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def wait(self) -> None:
        """Wait until nothing is being done."""
        if self._pending is not None:
            wait([self._pending])

    def look(self) -> None:
        """Without waiting: raise what has gone wrong."""
        if self._pending is not None and self._pending.done():
            self.settle()
