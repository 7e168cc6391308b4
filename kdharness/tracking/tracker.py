"""The tracker seam: who else is told about a run, and the record it is told by.

A tracker is a mirror of facts that our database already holds. It may fail; it may never fail a run. Only the mirror
process calls it, so nothing here stands on a training path.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kdharness.core.errors import EnvironmentRefused
from kdharness.core.records import Purpose, Setting, State


class TrackerError(EnvironmentRefused):
    """The tracker could not take it now (down, hanging, full): the outbox keeps its rows and `sync` completes it."""


@dataclass(frozen=True)
class StudyView:
    """A study as a tracker shows it."""

    name: str
    text: str
    """The newest text of the study file, kept as an artifact of the parent run."""
    about: str = ""
    path: str = "study.yaml"
    """The study file's name; only its last part is used."""


@dataclass(frozen=True)
class EpochMetrics:
    """What one finished epoch of a run measured, without sealed values."""

    epoch: int
    """From 1; the step of the tracker's curves."""
    timestamp_ms: int
    """When it was committed here (Unix milliseconds): repeating a record writes the same record again."""
    values: Mapping[str, float]


@dataclass(frozen=True)
class RunView:
    """One run as one study asks for it (a run reused by a second study has a view in each), as of now.

    A view of an unfinished run holds no test metric: `metrics` is empty and no `epochs` value is named `test_*`
    until `state` is "complete".
    """

    study: StudyView
    run_id: str
    setting: Setting
    seed: int
    purpose: Purpose
    label: str
    pair: str
    state: State
    epochs: tuple[EpochMetrics, ...] = ()
    """All epochs committed so far, in order; for a complete run with the metrics that were sealed."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Final metrics of a complete run."""
    started_ms: int | None = None
    finished_ms: int | None = None
    numerics_key: str | None = None
    axes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where each constant came from, for the artifact `settings.json`."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What may change from attempt to attempt, shown as tags: commit, host, device, attempts, weights_sha256, ..."""
    reused_from: str | None = None
    """The study that trained the run, where it is another one."""
    external_id: str | None = None
    """The tracker's own name of this view, once it is known."""
    logged_epoch: int = 0
    """The last epoch that the tracker confirmed."""

    @property
    def identity(self) -> str:
        """What a tracker looks the view up by before it creates anything; unique within the study."""
        return "|".join((self.run_id, self.label, self.pair))

    @property
    def ended(self) -> bool:
        return self.state not in ("waiting", "running")


class Tracker(Protocol):
    """A place where runs are shown to people.

    One process calls it. Every verb may be repeated with the same view after a crash and then changes nothing.
    Every verb raises TrackerError, and nothing else, when the place cannot be reached or refuses.
    """

    def start(self, run: RunView) -> str:
        """The external id of the view: found by its identity, or created with its params and artifacts."""
        ...

    def log(self, external_id: str, run: RunView) -> int:
        """Write the epochs after `run.logged_epoch`, and the tags; returns the last epoch now written."""
        ...

    def finish(self, external_id: str, run: RunView) -> None:
        """Write the final metrics, the end time and the state of a run that has ended."""
        ...

    def describe(self, study: StudyView, markdown: str, *, finished: bool) -> None:
        """Show `markdown` (the study's table) on top of the study, and whether all of its runs have ended."""
        ...
