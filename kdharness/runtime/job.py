"""A job: claims runs, feeds them to training and commits what comes out. Where all rooms below meet."""

import os
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kdharness.core.cycles import search_as_usual
from kdharness.core.errors import BadInput, ExitCode, LeaseLost, Unavailable
from kdharness.core.home import Home
from kdharness.core.records import Execution
from kdharness.results.owner import Owner
from kdharness.results.records import Lease
from kdharness.results.store import Store
from kdharness.runtime import parent
from kdharness.runtime.leases import Heartbeat
from kdharness.runtime.options import JOB_DEFAULTS, JobOptions
from kdharness.runtime.parent import ParentWatch
from kdharness.runtime.patience import patiently
from kdharness.runtime.runlog import note, run_logs
from kdharness.runtime.signals import Stop, stop_on_signals
from kdharness.runtime.slots import device_of
from kdharness.runtime.watchdog import Watchdog, end_hung
from kdharness.runtime.writer import Writer

if TYPE_CHECKING:
    from kdharness.runtime.sink import Ending, JobSink


def run_job(home: Home, run_ids: Sequence[str], *, slot: str, options: JobOptions = JOB_DEFAULTS) -> ExitCode:
    """Train the runs side by side until each is finished, has failed or the process is told to stop.

    DONE: all complete. SOME_FAILED: some ended badly (their logs say why). STOPPED: told to stop, by a signal or by
    its parent's death; every unfinished run is resumable. LEASE_LOST: they are someone else's, nothing was written.
    The leases are taken before anything slow is imported, so that a second runner soon sees that the runs are taken.
    """
    device = device_of(slot)
    with stop_on_signals() as stop, ParentWatch(lambda: stop.request("parent's death"), exit_code=ExitCode.STOPPED):
        if parent.ENVIRONMENT in os.environ:
            _be_first_out_of_memory()
        store = Store(home)
        owner = Owner.current()
        leases = patiently(
            lambda: store.claim(run_ids, owner, slot=slot), waiting=lambda _: None, stop=lambda: stop.requested
        )
        if leases is None:
            return ExitCode.LEASE_LOST
        where = f"{platform.node()} · pid {os.getpid()} · slot {slot}"
        if len(leases) > 1:
            where += f" · {len(leases)} runs side by side, what the process itself says is with {run_ids[0]}"
        headers = {lease.run_id: f"attempt {lease.attempt} · {where}" for lease in leases}
        with (
            run_logs(home, headers),
            Heartbeat(store, leases) as heartbeat,
            Watchdog(_hung(run_ids)) as watchdog,
            Writer() as writer,
        ):
            return _train(home, store, leases, heartbeat, watchdog, writer, stop, device, options)


def _be_first_out_of_memory() -> None:
    """Short of memory, the kernel is to end a job and not its runner."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _hung(run_ids: Sequence[str]) -> Callable[[float], None]:
    """What to do when training stands still."""

    def on_hang(seconds: float) -> None:
        where = f"the stacks of its threads are in the log of {run_ids[0]}"
        for run_id in run_ids:
            note(run_id, f"no step for {seconds:.0f} s: it hangs and is ended; {where}")
        end_hung()

    return on_hang


def _train(
    home: Home,
    store: Store,
    leases: Sequence[Lease],
    heartbeat: Heartbeat,
    watchdog: Watchdog,
    writer: Writer,
    stop: Stop,
    device: str,
    options: JobOptions,
) -> ExitCode:
    import torch

    from kdharness.runtime import provenance
    from kdharness.runtime.inputs import open_dataset, prepare
    from kdharness.runtime.sink import JobSink
    from kdharness.training.cohort import train_cohort
    from kdharness.training.numerics import numerics

    execution = Execution(
        device=device, threads=options.threads, layout=options.layout, compile=options.compile, tables=home.tables
    )
    if device == "cpu":
        torch.set_num_threads(execution.threads)
    saving = options.checkpoint_seconds
    sink = JobSink(home, store, leases, heartbeat, watchdog, stop, writer, checkpoint_seconds=saving)
    members = []
    commit, versions, name = provenance.commit(), provenance.versions(), provenance.device_name(device)
    for lease in leases:
        try:
            prepared = prepare(home, store, lease.run_id)
            store.start(lease, numerics=numerics(execution), device=name, commit=commit, versions=versions)
        except LeaseLost:
            sink.lose(lease.run_id)
        except Exception as error:  # noqa: BLE001  one run that cannot start must not take its cohort along
            with suppress(LeaseLost):
                sink.failed(lease.run_id, error)
        else:
            sink.teacher_sha256[lease.run_id] = prepared.teacher_sha256
            members.append(prepared.member)
    try:
        if members and not stop.requested:
            if len({(member.setting.dataset, member.setting.fingerprint) for member in members}) > 1:
                raise BadInput("the runs of a job share one dataset")
            search_as_usual()
            train_cohort(members, open_dataset(options.data or home.data, members[0].setting), execution, sink)
            sink.settle()
    except Exception as error:  # noqa: BLE001  a bug or a failure below: it is written into the runs, not lost
        _fail(sink, error)
    if sink.leaving is None:
        _fail(sink, RuntimeError("training returned without a result"))
    for run_id in sink.unfinished:
        with suppress(LeaseLost):
            try:
                sink.release(run_id, reason=sink.leaving or stop.by)
            except Unavailable as error:  # told to stop while it waited for the disk
                sink.failed(run_id, error)
    return _exit_code(set(sink.endings.values()))


def _fail(sink: "JobSink", error: Exception) -> None:
    for run_id in sink.unfinished:
        with suppress(LeaseLost):
            sink.failed(run_id, error)


def _exit_code(endings: "set[Ending]") -> ExitCode:
    from kdharness.runtime.sink import Ending

    if Ending.FAILED in endings:
        return ExitCode.SOME_FAILED
    if Ending.RELEASED in endings:
        return ExitCode.STOPPED
    return ExitCode.LEASE_LOST if Ending.LOST in endings else ExitCode.DONE
