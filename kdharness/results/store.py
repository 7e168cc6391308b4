"""The results database as verbs: the truth about what was asked, what is running and what came out."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdharness.core.home import Home
from kdharness.core.records import Numerics, RunKey, Setting, State, WantedRun
from kdharness.results import (
    analyses,
    attempts,
    columns,
    digests,
    draws,
    export,
    extract,
    marks,
    mirror,
    outbox,
    progress,
    queueing,
    reading,
    studies,
    teachers,
)
from kdharness.results import leases as holding
from kdharness.results import searches as searches_of
from kdharness.results.database import open_database
from kdharness.results.mirror_records import MirrorView, OutboxRow
from kdharness.results.owner import Owner
from kdharness.results.records import (
    Checkpoint,
    EpochMetric,
    ImportedTeacher,
    Lease,
    Note,
    QueueRow,
    Reaped,
    ResultRow,
    Revealed,
    RunDigest,
    RunRow,
    StudyAttempt,
    StudyChange,
    StudyRow,
    StudyText,
    TrainedTeacher,
)
from kdharness.results.search_records import Draw, DrawRun, SearchRow


class Store:
    """The one door to `results.db`. Safe to share between threads; open it after a fork, never across one."""

    def __init__(self, home: Home, *, create: bool = False, read_only: bool = False) -> None:
        """Open the database of `home`; `create` makes or upgrades it (a backup is kept).

        With `read_only` nothing is ever written, not even what a killed writer left half done is rolled back.

        Raises BadInput where there is none, EnvironmentRefused for one that is newer, older (without `create`),
        damaged, or on a network file system.
        """
        self.home = home
        self._database = open_database(home.results, create=create, read_only=read_only)

    def close(self) -> None:
        """Let go of all connections."""
        self._database.close()

    # What studies ask for

    def save_study(
        self, name: str, text: str, wanted: Sequence[WantedRun], *, path: str, spec: Mapping[str, Any]
    ) -> StudyChange:
        """Make the study ask for exactly `wanted`; earlier texts and all results are kept. All or nothing.

        Runs that `extend_study` added stay as long as the text does not change.
        """
        return studies.save(self._database, name, text, wanted, path, spec)

    def extend_study(self, name: str, wanted: Sequence[WantedRun]) -> StudyChange:
        """Make the study ask for `wanted` too. Raises BadInput for an unknown study."""
        return studies.extend(self._database, name, wanted)

    def study(self, name: str) -> StudyRow:
        """Raises BadInput for an unknown study, with a suggestion."""
        return studies.studies(self._database, name)[0]

    def spec(self, name: str) -> dict[str, Any]:
        """What reports need of the study's file, as `saved_form` keeps it. Raises BadInput for an unknown study."""
        return studies.spec(self._database, name)

    def studies(self) -> list[StudyRow]:
        """All studies by name."""
        return studies.studies(self._database)

    def texts(self, name: str) -> list[StudyText]:
        """Every version of the study's file, oldest first."""
        return studies.texts(self._database, name)

    def save_searches(self, study: str, searches: Sequence[SearchRow]) -> None:
        """Enter what the study's file searches now, in its order; earlier ones stay, as no longer asked for."""
        searches_of.save(self._database, study, searches)

    def save_outcome(self, study: str, name: str, outcome: Mapping[str, Any] | None) -> None:
        """What a search came to; None while it goes on."""
        searches_of.conclude(self._database, study, name, outcome)

    def searches(self, study: str) -> list[SearchRow]:
        """Those that the study's file asks for in its order, then earlier ones."""
        return searches_of.read(self._database, study)

    def save_draw(
        self,
        study: str,
        label: str,
        number: int,
        generation: int,
        params: Mapping[str, Any],
        run_id: str,
        cost: float | None = None,
    ) -> None:
        """Keep one point of a search; saving the same point again changes nothing."""
        draws.save(self._database, study, label, number, generation, params, run_id, cost)

    def prune_draw(self, study: str, label: str, number: int, epoch: int) -> None:
        """Keep that a search gave a point up after `epoch`."""
        draws.give_up(self._database, study, label, number, epoch)

    def draws(self, study: str, label: str) -> list[Draw]:
        """The search's points in number order, with their runs' states and final metrics."""
        return draws.read(self._database, study, label)

    def save_draw_runs(self, study: str, runs: Sequence[DrawRun]) -> None:
        """Keep what points of a search are trained for after their first runs."""
        draws.save_runs(self._database, study, runs)

    def draw_runs(self, study: str, label: str) -> list[DrawRun]:
        """Such runs by number, rung and seed, with their states and final metrics."""
        return draws.read_runs(self._database, study, label)

    # Who may teach

    def imported_teachers(self) -> list[ImportedTeacher]:
        """All imports by name."""
        return teachers.imported(self._database)

    def add_teacher(
        self,
        *,
        name: str,
        model: str,
        dataset: str,
        weights_sha256: str,
        path: str,
        declared_top1: float | None,
        provenance: Mapping[str, Any],
    ) -> ImportedTeacher:
        """Enter an import, unverified; one that is there already is returned with its new declared accuracy, if any,
        and as unverified where it is to be fed with another normalisation than before.

        Raises BadInput for a name that other weights have, and for another name of the same weights.
        """
        return teachers.add(self._database, name, model, dataset, weights_sha256, path, declared_top1, provenance)

    def verified(
        self, name: str, *, measured_top1: float, fingerprint: str, accepted: str | None = None
    ) -> ImportedTeacher:
        """Enter what the import scores on the test split of the data of `fingerprint`. Raises BadInput for no such."""
        return teachers.verified(self._database, name, measured_top1, fingerprint, accepted)

    def trained_teachers(self) -> list[TrainedTeacher]:
        """The finished runs that a study asks for as teachers, by dataset and model."""
        return teachers.trained(self._database)

    # Who works on what

    def queue(self, study: str | None = None) -> list[QueueRow]:
        """The runs that the study (or any study) asks for: teachers, then breadth first by seed, then by row."""
        return queueing.queue(self._database, study)

    def claim(
        self, run_ids: Sequence[str], owner: Owner, *, slot: str, lease_seconds: float = 60
    ) -> list[Lease] | None:
        """Leases for all of `run_ids` in their order, or None and no change if one is not waiting or not ready."""
        return holding.claim(self._database, run_ids, owner, slot, lease_seconds)

    def heartbeat(self, leases: Sequence[Lease], lease_seconds: float = 60) -> None:
        """Renew the leases from now. Raises LeaseLost naming the lost ones in `run_ids`; the others are renewed."""
        holding.heartbeat(self._database, leases, lease_seconds)

    def start(
        self, lease: Lease, *, numerics: Numerics, device: str, commit: str | None, versions: Mapping[str, str]
    ) -> None:
        """Record with what the attempt computes. Raises LeaseLost."""
        progress.start(self._database, lease, numerics, device, commit, versions)

    def commit_epoch(
        self, lease: Lease, epoch: int, step: int, metrics: Mapping[str, float], checkpoint: Checkpoint | None
    ) -> list[Checkpoint]:
        """Commit a point of progress; the superseded checkpoints (all but the two newest), whose files may go.

        `epoch` is the last finished one; `metrics` are its own, or empty in the middle of the next. Raises
        LeaseLost; SealedSplit for a test metric.
        """
        return progress.commit_epoch(self._database, lease, epoch, step, metrics, checkpoint)

    def checkpoints(self, run_id: str) -> list[Checkpoint]:
        """At most two, newest first; none for a complete run."""
        return progress.checkpoints(self._database, run_id)

    def forget_checkpoints(self, run_ids: Sequence[str]) -> None:
        """Strike the checkpoints of runs that nobody works on: their files are about to be removed."""
        progress.forget_checkpoints(self._database, run_ids)

    def complete(
        self,
        lease: Lease,
        metrics: Mapping[str, float],
        sealed: Mapping[str, Sequence[tuple[int, float]]],
        weights_sha256: str,
        teacher_sha256: str | None,
        predictions: bytes | None,
        publish: Callable[[], None] = lambda: None,
    ) -> None:
        """Finish the run in one transaction, in which its sealed values become visible; its checkpoints may go.

        `sealed` is name -> [(epoch, value), ...]. `publish` is called within it, while nobody else can own the run;
        what it raises undoes all, and after a commit that failed it is called again. Raises LeaseLost, also when it
        was completed before.
        """
        progress.complete(self._database, lease, metrics, sealed, weights_sha256, teacher_sha256, predictions, publish)

    def end(self, lease: Lease, state: State, *, reason: str, message: str) -> None:
        """End the run as failed, diverged, pruned or cancelled. Raises LeaseLost."""
        holding.end(self._database, lease, state, reason, message)

    def tell(self, lease: Lease, *, reason: str | None, message: str | None) -> None:
        """Say what a running run waits for, or with None that it goes on. Raises LeaseLost."""
        holding.tell(self._database, lease, reason, message)

    def release(self, lease: Lease, *, reason: str, alone: bool = False, message: str | None = None) -> None:
        """Give the run back to the queue; the attempt does not count. Raises LeaseLost.

        `alone`: it or a run beside it may be at fault; the queue says so until it has a new checkpoint. The queue
        shows `message` until the run is claimed again.
        """
        holding.release(self._database, lease, reason, alone, message)

    def reap(
        self,
        is_alive: Callable[[Owner], bool],
        max_attempts: int = 3,
        *,
        blame: bool = True,
        how: Mapping[str, str] | None = None,
    ) -> list[Reaped]:
        """Take running runs from owners that are dead or whose lease has ended: back to waiting, to be tried alone.

        The attempt counts for a run that its owner had alone; of several beside each other nobody knows whose fault
        it was. After `max_attempts` counted attempts in a row that committed no checkpoint the run is failed.
        Without `blame` (the owners were killed on purpose) it is as if they had released them. `how`: run -> how its
        process ended, in words, where that is known.
        """
        return holding.reap(self._database, is_alive, max_attempts, blame, how or {})

    def retry(self, study: str, run_ids: Sequence[str] | None = None) -> int:
        """How many runs wait again: the named ones that ended without a result, or all failed and cancelled ones."""
        return holding.retry(self._database, study, run_ids)

    def cancel(self, study: str, run_ids: Sequence[str] | None = None) -> int:
        """How many runs were cancelled: the named ones of the study's that were waiting or running, or all of them
        that no other study asks for. A job that has one finds its lease lost; `retry` goes on from its checkpoint."""
        return holding.cancel(self._database, study, run_ids)

    def prune(self, study: str, run_ids: Sequence[str], message: str) -> int:
        """How many of the study's runs were ended as pruned: those that were waiting or running, and teach no other."""
        return holding.prune(self._database, study, run_ids, message)

    def wake(self, study: str, run_ids: Sequence[str]) -> int:
        """How many of the study's runs were pruned and wait again, to go on from their last checkpoint."""
        return holding.wake(self._database, study, run_ids)

    # What people say of it

    def note_run(self, run_id: str, text: str) -> None:
        """Add a note to the run. Raises BadInput for an unknown run, and for text that cannot be shown."""
        marks.note_run(self._database, run_id, text)

    def note_study(self, study: str, text: str) -> None:
        """Add a note to the study. Raises BadInput for an unknown study, and for text that cannot be shown."""
        marks.note_study(self._database, study, text)

    def study_notes(self, study: str) -> list[Note]:
        """Oldest first."""
        return marks.study_notes(self._database, study)

    def tag(self, run_id: str, names: Sequence[str], *, remove: Sequence[str] = ()) -> None:
        """Give the run these tags and take others from it. Raises BadInput for an unknown run or what is no tag."""
        marks.tag(self._database, run_id, names, remove)

    def exclude(self, run_ids: Sequence[str], reason: str) -> None:
        """Keep the runs out of every mean; tables count them in sight and give the reason. Nothing is deleted."""
        marks.exclude(self._database, run_ids, reason)

    def include(self, run_ids: Sequence[str]) -> int:
        """How many of the runs were excluded, and count again."""
        return marks.include(self._database, run_ids)

    # What came out

    def add_metrics(self, run_id: str, metrics: Mapping[str, float], *, again: bool = False) -> int:
        """Enter what was found out about the student of a complete run; how many of them are new.

        What is there stays as it is, or with `again` is replaced. Raises BadInput for a run that is not complete and
        for a name that only the run's completion may write; SealedSplit for a test metric of a search run.
        """
        return analyses.add(self._database, run_id, metrics, again)

    def setting(self, run_id: str) -> tuple[Setting, int]:
        """The run's setting and seed. Raises BadInput for an unknown run."""
        return reading.setting(self._database, run_id)

    def find_run(self, start: str) -> str:
        """The one run whose id is `start`, or begins so. Raises BadInput for none or several."""
        return reading.find_run(self._database, start)

    def run(self, run_id: str) -> RunRow:
        """Raises BadInput for an unknown run."""
        return reading.run(self._database, run_id)

    def attempts(self, study: str) -> list[StudyAttempt]:
        """Of all runs that the study asks for, and of those it dropped and no other asks for, by run and number.

        Raises BadInput for an unknown study.
        """
        return attempts.read(self._database, study)

    def weights_of(self, key: RunKey) -> str | None:
        """SHA-256 of the finished run's student; None as long as it is not complete."""
        return reading.weights_of(self._database, key)

    def predictions(self, run_id: str) -> bytes | None:
        """What `complete` was given."""
        return reading.predictions(self._database, run_id)

    def epoch_metrics(self, run_id: str) -> list[EpochMetric]:
        """By epoch and name."""
        return reading.epoch_metrics(self._database, run_id)

    def rows(self, study: str) -> list[ResultRow]:
        """One per run, label and pair, in the order of the study file."""
        return reading.rows(self._database, study)

    def columns(self, study: str, metrics: Collection[str] | None = None) -> dict[str, list[Any]]:
        """The same column by column, without what only people read; times are ms of Unix time.

        `metrics` are the final ones to read, all where none are named.

        Raises BadInput for an unknown study, EnvironmentRefused where what is read has changed since it was committed.
        """
        return columns.columns(self._database, study, metrics)

    def export(self, study: str) -> Iterator[dict[str, Any]]:
        """The rows as JSON objects; non-finite metrics as "nan", "inf", "-inf", times as ISO 8601."""
        return export.export(self._database, study)

    def extract(self, study: str, target: Path) -> None:
        """Write the study's rows to `target`, a database of their own without names of hosts, processes and paths."""
        extract.extract(self._database, study, target)

    def digests(self, study: str) -> dict[str, RunDigest]:
        """Run -> hashes, of every run that the study asks for: what a manifest says of it."""
        return digests.digests(self._database, study)

    def ledger(self) -> list[Revealed]:
        """How many settings had a test score revealed, per dataset, pair and distiller."""
        return export.ledger(self._database)

    def query(self, sql: str, limit: int | None = None, **values: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of a SELECT, on a connection that can only read; `:name` in it is one of the values.

        Raises BadInput for anything else, and for a query of more than 20 s.
        """
        return export.query(self._database, sql, limit, values)

    # What is told to others

    def outbox(self, limit: int = 500) -> list[OutboxRow]:
        """The oldest (study, run) pairs whose mirror is behind; at most one row each."""
        return outbox.read(self._database, limit)

    def outbox_size(self) -> int:
        """How many (study, run) pairs are behind."""
        return outbox.size(self._database)

    def outbox_all(self) -> None:
        """Mark every pair whose run has begun as behind: for a tracker that was emptied."""
        outbox.mark_all(self._database)

    def outbox_done(self, ids: Sequence[int]) -> None:
        """Strike these rows; a pair that changed after its row was read has a row with another id, which stays."""
        outbox.strike(self._database, ids)

    def mirror_view(self, study_run_id: int) -> MirrorView | None:
        """What to tell of this pair now; None if the study no longer asks for the run."""
        return mirror.view(self._database, study_run_id)

    def mirror_save(self, study_run_id: int, *, external_id: str, logged_epoch: int, finished: bool) -> None:
        """Remember what the tracker knows of this pair."""
        mirror.save(self._database, study_run_id, external_id, logged_epoch, finished)

    def mirrored(self, study: str) -> dict[str, str]:
        """Run -> the tracker's name for it, of the study's runs that it was told of."""
        return mirror.mirrored(self._database, study)

    def last_mirrored(self) -> int | None:
        """When the tracker last took something, in ms of Unix time; None if it never did."""
        return mirror.last_saved(self._database)

    def take_mirror_lease(self, owner: Owner, lease_seconds: float = 60) -> bool:
        """True if `owner` is the mirror now (also renews); False while another living one is."""
        return mirror.take_lease(self._database, owner, lease_seconds)

    def release_mirror_lease(self, owner: Owner) -> None:
        """Let the next mirror start at once; without effect for anyone else's lease."""
        mirror.release_lease(self._database, owner)
