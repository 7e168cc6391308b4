"""A light job whose every durable step is hit in turn, by strace: killed there, or told EIO or ENOSPC.

No product code knows of it. Skipped where strace may not trace.
"""

import ctypes
import itertools
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import forking
from forking import STUDY, exit_code, fork, job_process, new_study
from outcome import Outcome

from kdharness.core.errors import ExitCode
from kdharness.core.home import Home
from kdharness.results.owner import is_alive
from kdharness.results.store import Store
from kdharness.runtime.options import JobOptions

FAULTS = {
    "fsync": ("signal=SIGKILL", "error=EIO"),
    "fdatasync": ("signal=SIGKILL", "error=EIO"),
    "rename": ("signal=SIGKILL", "error=EIO"),
    "unlink": ("signal=SIGKILL",),
    "pwrite64": ("signal=SIGKILL", "error=ENOSPC", "error=EIO"),
    "write": ("error=ENOSPC",),
}
"""System call -> what is done to it. fdatasync, unlink and pwrite64 are SQLite's; write is a checkpoint or a log."""
_PR_SET_PTRACER = 0x59616D61
_ANY = ctypes.c_ulong(-1)
_ATTACH_SECONDS = 10.0


def traceable() -> bool:
    """Whether strace is here and may trace."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0


def traced_job(home: Home, run_id: str, log: Path, *options: str) -> int:
    """The exit code of a job of this run under `strace OPTIONS`, whose output goes to `log`."""
    ready, go = os.pipe()

    def work() -> int:
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)
        os.close(go)
        os.read(ready, 1)
        return job_process(home, [run_id], "cpu:0", JobOptions())

    job = fork(work, home.root / "errors.txt")
    os.close(ready)
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-y", "-p", str(job), "-o", str(log), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + _ATTACH_SECONDS
    while "TracerPid:\t0\n" in Path(f"/proc/{job}/status").read_text():
        assert time.monotonic() < until and tracer.poll() is None, "strace did not attach"
        time.sleep(0.002)
    os.close(go)
    code = exit_code(job)
    tracer.wait()
    assert code is not None
    return code


def calls_of(root: Path) -> Counter[str]:
    """How often a thread of an undisturbed job makes each system call of `FAULTS`, at most: strace counts by thread."""
    home, ids = new_study(root, seeds=1)
    assert traced_job(home, ids["none0"], root / "trace", "-e", f"trace={','.join(FAULTS)}") == ExitCode.DONE
    lines = re.findall(r"^(\d+) +(\w+)\(", (root / "trace").read_text(), flags=re.MULTILINE)
    most: Counter[str] = Counter()
    for (_, call), count in Counter(lines).items():
        most[call] = max(most[call], count)
    return most


def points(counts: Counter[str]) -> Iterator[tuple[str, str, int]]:
    """System call, fault, and which of its calls is hit."""
    for call, faults in FAULTS.items():
        for fault in faults:
            for number in range(1, counts[call] + 1):
                yield call, fault, number


def crash_points(root: Path, stride: int) -> Outcome:
    """Hit every `stride`-th point, let the run go on undisturbed, and compare. For a process that `be_light`."""
    counts = calls_of(root / "count")
    template, ids = new_study(root / "template", seeds=1)
    run_id = ids["none0"]
    tries = lost = wrong = duplicated = refused = 0
    for call, fault, number in itertools.islice(points(counts), 0, None, stride):
        home = Home.at(root / "home")
        shutil.rmtree(home.root, ignore_errors=True)
        shutil.copytree(template.root, home.root)
        inject = f"inject={call}:{fault}:when={number}"
        code = traced_job(home, run_id, root / "trace", "-e", f"trace={call}", "-e", inject)
        tries += "INJECTED" in (root / "trace").read_text() or code < 0
        refused += code not in (ExitCode.DONE, -9)
        if not ends_well(home, run_id, said_done=code == ExitCode.DONE):
            wrong += 1
        store = Store(home)
        run = store.run(run_id)
        lost += run.state != "complete"
        duplicated += [one.outcome for one in run.history].count("complete") > 1
        wrong += run.weights_sha256 != forking.light_hash(run_id)
        store.close()
    note = f"{refused} times the job refused to go on"
    return Outcome("killed, EIO or ENOSPC at a durable step (24, 27, 28)", tries, lost, duplicated, wrong, note=note)


def ends_well(home: Home, run_id: str, *, said_done: bool) -> bool:
    """Go on after the fault as a user would; False where a job said that it was done and it was not."""
    store = Store(home)
    state = store.run(run_id).state
    store.reap(is_alive)
    store.retry(STUDY)
    store.close()
    if state != "complete":
        exit_code(fork(lambda: job_process(home, [run_id], "cpu:0", JobOptions()), home.root / "errors.txt"))
    return state == "complete" or not said_done


def order_of_durable_steps(root: Path) -> list[str]:
    """What an undisturbed job did to the disk, in order: `fsync NAME`, `rename NAME`, `commit`."""
    home, ids = new_study(root, seeds=1)
    traced_job(home, ids["none0"], root / "trace", "-e", "trace=fsync,fdatasync,rename,pwrite64")
    steps = []
    for line in (root / "trace").read_text().splitlines():
        if found := re.search(r"f(?:data)?sync\(\d+<([^>]+)>", line):
            steps.append(f"fsync {Path(found[1]).relative_to(home.root)}")
        elif found := re.search(r'rename\("[^"]+", "([^"]+)"', line):
            steps.append(f"rename {Path(found[1]).relative_to(home.root)}")
        elif f"<{home.results}>" in line and "pwrite64" in line and steps[-1:] != ["row"]:
            steps.append("row")
    return steps
