"""Who may write for a run: claims, heartbeats, and how a run is let go, ended or taken from a dead owner.

A claim raises the run's fence; every later write names the fence it was claimed under, so that an owner who was
paused past his lease writes nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, Update, bindparam, exists, insert, select, update
from sqlalchemy.orm import aliased

from kdharness.core.errors import BadInput, LeaseLost
from kdharness.core.records import State
from kdharness.results import outbox, schema
from kdharness.results.database import Database
from kdharness.results.encoding import among, listing, now_ms, owner_columns, owner_of
from kdharness.results.owner import Owner, boot_id, boottime
from kdharness.results.records import Lease, Reaped
from kdharness.results.studies import study_id_of

NOBODY: dict[str, Any] = {
    "owner_host": None,
    "owner_boot_id": None,
    "owner_pid": None,
    "owner_pid_start": None,
    "owner_nonce": None,
    "slot": None,
    "lease_until": None,
}
RETRIED = ("failed", "cancelled")
"""What `retry` takes up by itself; a diverged or pruned run would end the same way and has to be named."""


# Statements are built once where they are executed often: building one takes longer than executing it.
_FENCED = update(schema.Run).where(
    schema.Run.run_id == bindparam("its_run"),
    schema.Run.fence == bindparam("its_fence"),
    schema.Run.state == "running",
)
_RELEASED = _FENCED.values(attempts=schema.Run.attempts - 1)
_ATTEMPT = update(schema.Attempt).where(
    schema.Attempt.run_id == bindparam("its_run"), schema.Attempt.number == bindparam("its_number")
)
_CHOSEN = update(schema.Run).where(schema.Run.run_id.in_(among("chosen")))
_CLAIMED = _CHOSEN.values(state="running", fence=schema.Run.fence + 1, attempts=schema.Run.attempts + 1)
_ATTEMPTED = insert(schema.Attempt)
_TEACHER = aliased(schema.Run)
_FREE = (
    select(schema.Run.run_id, schema.Run.fence, schema.Run.attempts)
    .where(schema.Run.run_id.in_(among("chosen")), schema.Run.state == "waiting")
    .where(
        ~exists()
        .where(schema.RunNeed.run_id == schema.Run.run_id)
        .where(_TEACHER.run_id == schema.RunNeed.needs_run_id)
        .where(_TEACHER.state != "complete")
    )
)


_TEACHERS = (
    select(schema.RunNeed.needs_run_id)
    .join(schema.Run, schema.Run.run_id == schema.RunNeed.run_id)
    .where(schema.Run.state.in_(("waiting", "running")))
)
"""Runs that others wait for."""
_later = aliased(schema.Attempt)
ALONE = (
    select(schema.Attempt.run_id)
    .join(schema.Run, schema.Run.run_id == schema.Attempt.run_id)
    .where(schema.Run.state == "waiting", schema.Attempt.outcome == "lost")
    .where(
        ~exists().where(
            _later.run_id == schema.Attempt.run_id, _later.number > schema.Attempt.number, _later.checkpoints > 0
        )
    )
)
"""Waiting runs that had a job that died, and no checkpoint since."""
_TRIAL = ALONE.where(schema.Run.run_id == bindparam("its_run"), ~schema.Attempt.counted)


def fenced(connection: Connection, lease: Lease, **values: Any) -> None:
    """Write to the run's row under the lease. Raises LeaseLost if another attempt owns the run, or nobody does."""
    if not _write(connection, lease, values):
        raise lost([lease])


def _write(connection: Connection, lease: Lease, values: Mapping[str, Any], statement: Update = _FENCED) -> bool:
    """False, and nothing is touched, once the lease is lost."""
    return bool(connection.execute(statement, {"its_run": lease.run_id, "its_fence": lease.fence, **values}).rowcount)


def lost(leases: Sequence[Lease]) -> LeaseLost:
    """The error that names them."""
    names = ", ".join(f"{lease.run_id} (attempt {lease.attempt})" for lease in leases)
    return LeaseLost(
        f"the lease was lost: {names}",
        run_ids=tuple(lease.run_id for lease in leases),
        remedy="another attempt owns the run, or it was cancelled; nothing more is written",
    )


def is_expired(row: RowMapping) -> bool:
    """The lease in this row of runs has ended; so has every lease of another boot. False where there is none."""
    if row["lease_until"] is None:
        return False
    return bool(row["owner_boot_id"] != boot_id() or row["lease_until"] < boottime())


def claim(
    database: Database, run_ids: Sequence[str], owner: Owner, slot: str, lease_seconds: float
) -> list[Lease] | None:
    """See Store.claim."""
    wanted = list(dict.fromkeys(run_ids))
    chosen = {"chosen": listing(wanted)}
    with database.write() as connection:
        free = connection.execute(_FREE, chosen).all()
        if len(free) != len(wanted):
            return None
        trial = len(wanted) == 1 and connection.scalar(_TRIAL, {"its_run": wanted[0]}) is not None
        leases = {row.run_id: Lease(row.run_id, row.fence + 1, row.attempts + 1, trial) for row in free}
        holder = {"slot": slot, **owner_columns(owner)}
        held = {"lease_until": boottime() + lease_seconds, "reason": None, "message": None}
        connection.execute(_CLAIMED, {**chosen, **holder, **held})
        row = {"counted": True, "checkpoints": 0, "claimed_ms": now_ms(), **holder}
        attempts = [row | {"run_id": lease.run_id, "number": lease.fence} for lease in leases.values()]
        if attempts:
            connection.execute(_ATTEMPTED, attempts)
    return [leases[run_id] for run_id in wanted]


def heartbeat(database: Database, leases: Sequence[Lease], lease_seconds: float) -> None:
    """See Store.heartbeat."""
    with database.write() as connection:
        until = boottime() + lease_seconds
        gone = [lease for lease in leases if not _write(connection, lease, {"lease_until": until})]
    if gone:  # after the commit, so that the others are renewed
        raise lost(gone)


def end(database: Database, lease: Lease, state: State, reason: str, message: str) -> None:
    """See Store.end."""
    if state not in ("failed", "diverged", "pruned", "cancelled"):
        raise ValueError(f"a run does not end as {state!r}")
    finished = now_ms()
    with database.write() as connection:
        told = {"reason": reason, "message": message}
        fenced(connection, lease, state=state, finished_ms=finished, **NOBODY, **told)
        write_attempt(connection, lease.run_id, lease.fence, outcome=state, finished_ms=finished, **told)
        outbox.mark_runs(connection, [lease.run_id], "state")


def tell(database: Database, lease: Lease, reason: str | None, message: str | None) -> None:
    """See Store.tell."""
    with database.write() as connection:
        fenced(connection, lease, reason=reason, message=message)


def release(database: Database, lease: Lease, reason: str, alone: bool, message: str | None) -> None:
    """See Store.release."""
    told = {"reason": reason if message else None, "message": message}
    with database.write() as connection:
        if not _write(connection, lease, {"state": "waiting", **NOBODY, **told}, _RELEASED):
            raise lost([lease])
        how: dict[str, Any] = {"outcome": "lost" if alone else "released", "reason": reason, "counted": False}
        how["message"] = message
        write_attempt(connection, lease.run_id, lease.fence, finished_ms=now_ms(), **how)
        outbox.mark_runs(connection, [lease.run_id], "state")


def write_attempt(connection: Connection, run_id: str, number: int, **values: Any) -> None:
    """Write to the attempt's row."""
    connection.execute(_ATTEMPT, {"its_run": run_id, "its_number": number, **values})


def reap(
    database: Database, is_alive: Callable[[Owner], bool], max_attempts: int, blame: bool, how: Mapping[str, str]
) -> list[Reaped]:
    """See Store.reap."""
    with database.read() as connection:
        running = connection.execute(select(schema.Run).where(schema.Run.state == "running")).mappings().all()
    verdicts: dict[Owner, bool] = {}
    found: list[tuple[RowMapping, Owner, Literal["dead", "expired"]]] = []
    for row in running:
        owner = owner_of(row)
        if owner is None:
            continue
        if owner not in verdicts:
            verdicts[owner] = is_alive(owner)
        if not verdicts[owner]:
            found.append((row, owner, "dead"))
        elif is_expired(row):
            found.append((row, owner, "expired"))
    if not found:
        return []
    had = Counter(owner_of(row) for row in running)
    with database.write() as connection:
        reaped = []
        for row, owner, cause in found:
            one = Reaped(row["run_id"], "waiting", row["attempts"], cause, owner, had[owner] - 1)
            reaped.append(_take(connection, row, one, max_attempts, blame, how.get(row["run_id"])))
        taken = [each for each in reaped if each is not None]
        outbox.mark_runs(connection, [each.run_id for each in taken], "state")
    return taken


def _take(
    connection: Connection, row: RowMapping, taken: Reaped, max_attempts: int, blame: bool, how: str | None
) -> Reaped | None:
    """Take the run if nothing has moved since `row` was read; None if a heartbeat or another reaper came first."""
    run_id, fence, futile = row["run_id"], row["fence"], row["futile"]
    counted = blame and not taken.beside
    if counted:
        of_attempt = (schema.Attempt.run_id == run_id, schema.Attempt.number == fence)
        futile = 0 if connection.scalar(select(schema.Attempt.checkpoints).where(*of_attempt)) else futile + 1
    told: dict[str, Any] = {"reason": None, "message": None, "finished_ms": None}
    if counted and futile >= max_attempts:
        message = f"{futile} attempts in a row ended without a new checkpoint"
        message += f"; the last {how}" if how else ""
        taken = replace(taken, state="failed")
        told = {"reason": "no progress", "message": message, "finished_ms": now_ms()}
    taken = replace(taken, attempts=taken.attempts - (not counted))
    unmoved = update(schema.Run).where(
        schema.Run.run_id == run_id,
        schema.Run.fence == fence,
        schema.Run.state == "running",
        schema.Run.lease_until == row["lease_until"],
    )
    becomes = {"state": taken.state, "attempts": taken.attempts, "futile": futile, **NOBODY, **told}
    if not connection.execute(unmoved.values(becomes)).rowcount:
        return None
    outcome, reason = ("lost", taken.cause) if blame else ("released", "killed")
    ended = {"outcome": outcome, "reason": reason, "message": how, "counted": counted}
    write_attempt(connection, run_id, fence, finished_ms=now_ms(), **ended)
    return taken


def retry(database: Database, study: str, run_ids: Sequence[str] | None) -> int:
    """See Store.retry."""
    states = RETRIED if run_ids is None else (*RETRIED, "diverged", "pruned")
    with database.write() as connection:
        return _wait_again(connection, _chosen(connection, study, run_ids, states))


def _wait_again(connection: Connection, chosen: Sequence[str]) -> int:
    again = {"state": "waiting", "futile": 0, "finished_ms": None, "reason": None, "message": None}
    connection.execute(_CHOSEN, {"chosen": listing(chosen), **again})
    outbox.mark_runs(connection, chosen, "state")
    return len(chosen)


def cancel(database: Database, study: str, run_ids: Sequence[str] | None) -> int:
    """See Store.cancel."""
    return _stop(database, study, run_ids, "cancelled", None)


def prune(database: Database, study: str, run_ids: Sequence[str], message: str) -> int:
    """See Store.prune."""
    return _stop(database, study, run_ids, "pruned", message)


def wake(database: Database, study: str, run_ids: Sequence[str]) -> int:
    """See Store.wake."""
    with database.write() as connection:
        return _wait_again(connection, _chosen(connection, study, run_ids, ("pruned",)))


def _stop(database: Database, study: str, run_ids: Sequence[str] | None, state: State, message: str | None) -> int:
    """End the study's waiting and running runs (or the named ones of them) over their owners' heads."""
    with database.write() as connection:
        chosen = _chosen(connection, study, run_ids, ("waiting", "running"))
        if state == "pruned":
            teachers = set(connection.scalars(_TEACHERS))
            chosen = [run_id for run_id in chosen if run_id not in teachers]
        if run_ids is None:
            others = schema.StudyRun.study_id != study_id_of(connection, study)
            shared = set(connection.scalars(select(schema.StudyRun.run_id).where(others)))
            chosen = [run_id for run_id in chosen if run_id not in shared]
        finished = now_ms()
        told = {"state": state, "finished_ms": finished, "reason": state, "message": message}
        connection.execute(_CHOSEN, {"chosen": listing(chosen), **told, **NOBODY})
        running = (schema.Attempt.run_id.in_(among("chosen")), schema.Attempt.outcome.is_(None))
        how = {"outcome": state, "finished_ms": finished}
        connection.execute(update(schema.Attempt).where(*running), {"chosen": listing(chosen), **how})
        outbox.mark_runs(connection, chosen, "state")
    return len(chosen)


def _chosen(connection: Connection, study: str, run_ids: Sequence[str] | None, states: Sequence[str]) -> list[str]:
    """The study's runs (or the named ones of them) in one of `states`. Raises BadInput for a run of no such study."""
    asked = {
        row.run_id: row.state
        for row in connection.execute(
            select(schema.Run.run_id, schema.Run.state)
            .join(schema.StudyRun, schema.StudyRun.run_id == schema.Run.run_id)
            .where(schema.StudyRun.study_id == study_id_of(connection, study))
        )
    }
    for run_id in run_ids or ():
        if run_id not in asked:
            raise BadInput(f"the study {study!r} does not ask for a run {run_id!r}")
    return [run_id for run_id in (asked if run_ids is None else run_ids) if asked[run_id] in states]
