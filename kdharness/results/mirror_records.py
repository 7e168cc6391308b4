"""What has to be told to a tracker, and what is said of it. Times are in ms of Unix time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kdharness.core.records import Purpose, State
from kdharness.results.records import EpochMetric

What = Literal["asked", "study", "state", "epoch"]
"""Why a (study, run) has to be mirrored again: it is newly asked for or relabelled, the study's text changed, the
run's state changed, an epoch was committed."""


@dataclass(frozen=True)
class OutboxRow:
    """A (study, run) whose mirror is behind. Nothing but the fact: what to say is in its `mirror_view`."""

    id: int
    study_run_id: int
    study: str
    run_id: str
    what: What
    at_ms: int


@dataclass(frozen=True)
class MirrorView:
    """Everything a tracker says about one run of one study. Sealed values are not in it: the store has none."""

    study_run_id: int
    study: str
    study_text: str
    study_path: str
    run_id: str
    label: str
    pair: str
    purpose: Purpose
    state: State
    seed: int
    epochs: int
    params: Mapping[str, str | int | float | bool | None]
    """Flat: {"kd.temperature": 4.0, "recipe.lr": 0.05, "dataset": "digits"}."""
    tags: Mapping[str, str]
    """`kdharness.run_id`, `.setting_key`, `.numerics_key`, `.commit`, `.host`, `.device`, ..."""
    settings: Mapping[str, Any]
    provenance: Mapping[str, str]
    epoch_metrics: tuple[EpochMetric, ...]
    """By epoch; when the run is complete the once sealed ones are among them, also of epochs already logged."""
    metrics: Mapping[str, float]
    started_ms: int | None
    finished_ms: int | None
    reused_from: str | None
    """The study that trained it, where it is another one."""
    external_id: str | None
    logged_epoch: int
    finished: bool
    """The tracker has already been told the end."""
