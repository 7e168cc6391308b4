"""Jobs that end before they claim their runs are counted: no attempt stands in the store for them."""

from collections import Counter
from collections.abc import Mapping, Sequence

from kdharness.core.errors import ExitCode
from kdharness.results.records import QueueRow


class Strikes:
    """A run has struck out after `most` such jobs in a row."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[str] = Counter()
        self.given_up: set[str] = set()
        """The runs that have struck out."""
        self._fences: dict[str, int] = {}  # run -> its fence when its last job was submitted

    def submitted(self, rows: Sequence[QueueRow]) -> None:
        """A job of these runs has been started."""
        self._fences.update((row.run_id, row.fence) for row in rows)

    def count(self, queue: Sequence[QueueRow], ended: Mapping[str, int], *, killed: bool) -> list[QueueRow]:
        """Those that have struck out just now, given the exit codes of the jobs that have ended.

        A job that we killed is no strike, nor one that found one of its runs taken: then none is its, and the others
        are planned anew.
        """
        out = []
        for row in queue:
            code = ended.get(row.run_id)
            if code is None:
                continue
            never_began = (
                row.state == "waiting"
                and row.fence == self._fences[row.run_id]
                and code not in (ExitCode.STOPPED, ExitCode.LEASE_LOST)
                and not killed
            )
            self._counts[row.run_id] = self._counts[row.run_id] + 1 if never_began else 0
            if self._counts[row.run_id] == self._most:
                self.given_up.add(row.run_id)
                out.append(row)
            elif not self._counts[row.run_id]:
                self.given_up.discard(row.run_id)
        return out
