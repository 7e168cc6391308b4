"""What goes into the loop and what comes out of it: members, the points they can go on from, and who is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from kdharness.core.records import Setting


class Diverged(Exception):
    """The training loss or a weight is not finite; found at the end of an epoch."""


@dataclass(frozen=True)
class Member:
    """One run to train, whole: what `train_cohort` needs to know of it."""

    run_id: str
    setting: Setting
    seed: int
    teacher_weights: tuple[Mapping[str, Tensor], ...] = ()
    """One state_dict per teacher of the setting whose weights the distiller needs."""
    resume: Mapping[str, Any] | None = None
    """An `EpochEnd.state` of the same setting and seed to go on from; None to start."""


@dataclass(frozen=True)
class EpochEnd:
    """A point that a run can go on from: the end of an epoch, or with empty `metrics` any step between."""

    epoch: int
    """The last finished epoch of the main training, 0 before the first (phases included)."""
    step: int
    """Steps taken so far, those of phases included: no two points of a run have the same."""
    metrics: Mapping[str, float]
    """Nothing sealed: train_loss, train_top1, train_<term> (unweighted mean), lr, train_seconds; in a search run also
    val_top1, val_top5, val_loss; where the recipe records gradients the L2 norms of the gradient by the student's
    parameters: train_gradient (of the loss, mean over the steps' images) and train_gradient_<term> (of each weighted
    term, at the epoch's first step)."""
    state: Mapping[str, Any]
    """The whole checkpoint, for `training.checkpoint.write`: sealed values included, its tensors are copies."""


@dataclass(frozen=True)
class Finished:
    """What a run ends with. Nothing of the test split was shown before."""

    metrics: Mapping[str, float]
    """test_top1_last, test_top1_best, test_top5_last, test_loss_last (val_* instead in a search run), train_*_last."""
    sealed: Mapping[str, Sequence[tuple[int, float]]]
    """Per epoch: {"test_top1": [(epoch, value), ...], ...}; empty in a search run."""
    weights: Mapping[str, Tensor]
    """The student's state_dict, on the CPU."""
    weights_sha256: str
    predictions: tuple[Tensor, Tensor] | None
    """Per test image its predicted class (N,) int64 and confidence (N,) float16; None in a search run."""


class Sink(Protocol):
    """Who is told. Called in the training thread; a LeaseLost from any call drops that member, the others go on."""

    def epoch_end(self, run_id: str, end: EpochEnd) -> None: ...

    def finished(self, run_id: str, result: Finished) -> None: ...

    def failed(self, run_id: str, error: Exception) -> None:
        """Diverged, or whatever the member's own code raised; the other members go on."""
        ...

    def stop_requested(self) -> bool:
        """Asked after every step. True: every member hands an EpochEnd for where it is, then the loop returns."""
        ...

    def checkpoint_due(self, run_id: str) -> bool:
        """Asked after every step that does not end an epoch. True: the member hands an EpochEnd for where it is."""
        ...
