"""Conformance of a tracker: what every one promises, whatever it writes to."""

from collections.abc import Callable
from dataclasses import replace

from kdharness.core.records import Recipe, Setting
from kdharness.tracking.tracker import EpochMetrics, RunView, StudyView, Tracker

START_MS = 1_700_000_000_000


def example_run(label: str = "kd", seed: int = 0, epochs: int = 3, study: str = "check") -> RunView:
    """A running run with `epochs` finished epochs."""
    setting = Setting(
        dataset="digits",
        fingerprint="f" * 64,
        student="resnet8",
        student_revision=1,
        distiller=label.split("+")[0].lower(),
        distiller_revision=1,
        constants={"temperature": 4.0, "kd_weight": 0.9, "standardize": "none"},
        recipe=Recipe(epochs=30, batch_size=64, lr=0.05, milestones=(18, 24)),
    )
    return RunView(
        study=StudyView(study, "study: check\ndataset: digits\n", about="A study of a conformance check"),
        run_id=setting.run(seed).run_id,
        setting=setting,
        seed=seed,
        purpose="final",
        label=label,
        pair="resnet20 -> resnet8",
        state="running",
        epochs=tuple(
            EpochMetrics(
                epoch, START_MS + epoch * 1000, {"train_loss": 2.0 / epoch, "train_top1": 60.0 + epoch, "lr": 0.05}
            )
            for epoch in range(1, epochs + 1)
        ),
        started_ms=START_MS,
        facts={"host": "here", "device": "cpu", "commit": "0" * 40},
    )


def completed(run: RunView) -> RunView:
    """The same run at its end: the sealed test metrics are open now."""
    return replace(
        run,
        state="complete",
        epochs=tuple(replace(e, values={**e.values, "test_top1": 70.0 + e.epoch}) for e in run.epochs),
        metrics={"test_top1_last": 70.0 + len(run.epochs), "test_top1_best": 70.0 + len(run.epochs)},
        finished_ms=START_MS + 60_000,
    )


def check_tracker(make: Callable[[], Tracker]) -> None:
    """Every verb can be repeated after a crash, by the same process or by another one; identities are kept apart.

    `make` opens the same place each time. Raises AssertionError with the promise that was broken.
    """
    tracker, run = make(), example_run()
    external_id = tracker.start(run)
    assert isinstance(external_id, str) and external_id, "start returns the external id as text"
    assert tracker.start(run) == external_id, "start finds what it created"
    other = tracker.start(example_run(seed=1))
    assert other != external_id, "another run has another external id"
    assert tracker.start(replace(run, label="kd | by ' T \" é")) != external_id, "another label is another entry"
    assert tracker.start(replace(run, study=replace(run.study, name="check/two"))) != external_id, "and another study"
    first = replace(run, epochs=run.epochs[:2])
    assert tracker.log(external_id, first) == 2, "log returns the last epoch that is written"
    assert tracker.log(external_id, first) == 2, "log may be repeated"
    assert tracker.log(external_id, replace(first, logged_epoch=2)) == 2, "without news nothing changes"
    again = make()
    assert again.start(run) == external_id, "a new process finds the run of the one that died"
    assert again.log(external_id, replace(run, logged_epoch=2)) == 3, (
        "the new process goes on where the old one stopped"
    )
    done = replace(completed(run), logged_epoch=3)
    again.finish(external_id, done)
    again.finish(external_id, done)
    for state in ("failed", "diverged", "cancelled", "pruned"):
        again.finish(other, replace(example_run(seed=1), state=state))
    again.describe(run.study, "| a | table |", finished=False)
    again.describe(run.study, "| a | table |" * 2000, finished=True)
