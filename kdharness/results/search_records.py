"""What the store takes and gives about searches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kdharness.core.records import State


@dataclass(frozen=True)
class Draw:
    """One point of a search."""

    label: str
    number: int
    generation: int
    params: Mapping[str, Any]
    run_id: str
    state: State = "waiting"
    metrics: Mapping[str, float] = field(default_factory=dict)
    cost: float | None = None
    """Of its student, in multiply-adds; None where it was drawn by a version that did not ask."""
    pruned_epoch: int | None = None
    """The epoch after which its search gave it up, whatever became of its run."""


@dataclass(frozen=True)
class DrawRun:
    """What a draw was trained for after its first run."""

    label: str
    number: int
    rung: int
    """Which of the search's schedules; the last is the whole one."""
    seed: int
    run_id: str
    state: State = "waiting"
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchRow:
    """One search of a study."""

    name: str
    """Under which its draws stand; those of several pairs under `name pair`."""
    spec: Mapping[str, Any]
    outcome: Mapping[str, Any] | None = None
    """None until it has chosen."""
    asked: bool = True
    """The study's file still asks for it."""
