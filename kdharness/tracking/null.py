"""No tracker: whoever has none still runs the same path."""

from kdharness.tracking.tracker import RunView, StudyView


class NullTracker:
    """A Tracker that takes everything and keeps nothing."""

    def start(self, run: RunView) -> str:
        """See Tracker.start."""
        return run.identity

    def log(self, external_id: str, run: RunView) -> int:
        """See Tracker.log."""
        return max((epoch.epoch for epoch in run.epochs), default=run.logged_epoch)

    def finish(self, external_id: str, run: RunView) -> None:
        """See Tracker.finish."""

    def describe(self, study: StudyView, markdown: str, *, finished: bool) -> None:
        """See Tracker.describe."""
