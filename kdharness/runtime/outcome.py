"""What a call of `kdharness run` came to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kdharness.core.errors import ExitCode
from kdharness.core.records import State


@dataclass(frozen=True)
class FailedRun:
    """A run that ended badly, and where to read why."""

    run_id: str
    label: str
    pair: str
    seed: int
    state: State
    message: str
    log: Path


@dataclass(frozen=True)
class RunOutcome:
    """What the loop left behind."""

    exit_code: ExitCode
    total: int
    """Without those that a search gave up on purpose."""
    complete: int
    trained: int
    """Runs that jobs of this call finished."""
    failed: tuple[FailedRun, ...]
    blocked: Mapping[str, str]
    """Run that could not start -> the run it needs that ended badly."""
    unfinished: int
    """Runs that wait or run on, where it was stopped early."""
    seconds: float
    mirror_behind: int | None
    """Records the tracker has not been told; None where there is no tracker."""
