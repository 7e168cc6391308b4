"""What has become of the runs since the last look, told to the user and to the user's own command."""

from collections.abc import Sequence
from typing import Literal

from kdharness.core.home import Home
from kdharness.core.records import State
from kdharness.reporting.placing import Entry, entry_name
from kdharness.results.records import QueueRow
from kdharness.runtime.deaths import how_ended
from kdharness.runtime.ending import Ending
from kdharness.runtime.notify import Notifier
from kdharness.runtime.progress import Progress


def method_of(row: QueueRow) -> str:
    """`KD by T (temperature=2)`: the run's row as tables name it, with the values of its axes."""
    return entry_name(Entry(row.label, row.axes))


def name_of(row: QueueRow) -> str:
    """A run as the user's study names it."""
    return f"{method_of(row)} {row.pair} seed {row.seed}"


class News:
    """Remembers what was told; of what ends badly the loop's ending hears too."""

    def __init__(self, home: Home, progress: Progress, notifier: Notifier, ending: Ending) -> None:
        self._home = home
        self._progress = progress
        self._notifier = notifier
        self._ending = ending
        self._states: dict[str, State] = {}

    def tell(self, queue: Sequence[QueueRow]) -> bool:
        """Say what ended since the last time; whether anything did, runs that were never seen to wait included."""
        changed = not self._states
        ended = sum(row.state not in ("waiting", "running") for row in queue)
        bad: dict[Literal["failed", "diverged"], list[QueueRow]] = {"failed": [], "diverged": []}
        for row in queue:
            before = self._states.get(row.run_id)
            self._states[row.run_id] = row.state
            if before == row.state or row.state in ("waiting", "running"):
                continue
            changed = True
            if before is None:  # it had ended when it was asked for, or between two looks
                continue
            if row.state == "complete":
                self._progress.say(f"{name_of(row)}: complete ({ended}/{len(queue)})")
            elif row.state == "failed" or row.state == "diverged":
                bad[row.state].append(row)
                self._say_bad(row, f"{row.state}: {row.message or row.reason}")
        for state, rows in bad.items():
            if rows:
                text = "; ".join(f"{name_of(row)}: {row.message or row.reason}" for row in rows[:5])
                self._notifier.tell(state, f"{state}: {text}", runs=[row.run_id for row in rows[:100]])
        return changed

    def tell_given_up(self, row: QueueRow, code: int) -> None:
        """Say that the run's jobs do not even begin, and how the last one ended."""
        self._say_bad(row, f"given up, its job {how_ended(code)} before it began")

    def _say_bad(self, row: QueueRow, what: str) -> None:
        self._progress.say(f"{name_of(row)}: {what}; see {self._home.log(row.run_id)}", bad=True)
        self._ending.run_failed()
