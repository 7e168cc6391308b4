"""The harness's side of a step: a cohort in its own training loop, whose rounds end between two steps."""

from collections.abc import Sequence
from typing import Protocol

from kdharness.core.records import Execution
from kdharness.core.types import Dataset
from kdharness.training.cohort import train_cohort
from kdharness.training.members import EpochEnd, Finished, Member


class Turn(Protocol):
    """Is told that a round is over, and says when the next may begin."""

    def next_round(self) -> bool:
        """False: there is no other."""
        ...


class Rounds:
    """Training's Sink: keeps nothing, and ends a round after some steps of all members.

    The loop asks it after every step of every member whether to stop. So a round is all that the steps cost: batches,
    the teacher or its table, networks, losses, updates, sums, and this question.
    """

    def __init__(self, turn: Turn, members: int, rounds: int, steps: int) -> None:
        self._turn, self._rounds = turn, rounds
        self._every = members * steps
        self._asked = 0

    def stop_requested(self) -> bool:
        self._asked += 1
        if self._asked % self._every:
            return False
        return not self._turn.next_round() or self._asked == self._every * self._rounds

    def checkpoint_due(self, run_id: str) -> bool:
        return False

    def epoch_end(self, run_id: str, end: EpochEnd) -> None: ...

    def finished(self, run_id: str, result: Finished) -> None: ...

    def failed(self, run_id: str, error: Exception) -> None:
        """A benchmark of runs that fail is none."""
        raise error


def train_rounds(
    turn: Turn, members: Sequence[Member], dataset: Dataset, execution: Execution, *, rounds: int, steps: int = 1
) -> None:
    """Train the members for so many rounds of so many steps; the first one must have begun."""
    train_cohort(members, dataset, execution, Rounds(turn, len(members), rounds, steps))
