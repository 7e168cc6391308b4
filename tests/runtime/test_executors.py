import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdharness.core.home import Home
from kdharness.runtime.command import _own_command
from kdharness.runtime.executors import InProcessExecutor, SubprocessExecutor
from kdharness.testing.executor import check_executor
from kdharness.testing.fake_job import fake_job

FAKE = (sys.executable, "-m", "kdharness.testing.fake_job")


def test_subprocess_executor(tmp_path):
    check_executor(lambda home: SubprocessExecutor(home, FAKE), Home(tmp_path))


def test_in_process_executor(tmp_path):
    check_executor(lambda home: InProcessExecutor(fake_job), Home(tmp_path), asynchronous=False)


def test_output_is_appended_to_the_log_of_the_first_run(tmp_path):
    home = Home(tmp_path)
    home.log("a").parent.mkdir(parents=True)
    home.log("a").write_text("before\n")
    command = (sys.executable, "-c", "import sys; print(sys.argv[1:]); print('oh', file=sys.stderr)")
    executor = SubprocessExecutor(home, command)
    handle = executor.submit(("a", "b"), "cpu:1")
    while executor.poll(handle) is None:
        time.sleep(0.01)
    arguments = ["job", "--home", str(tmp_path), "--slot", "cpu:1", "a", "b"]
    assert home.log("a").read_text().splitlines() == ["before", str(arguments), "oh"]


@pytest.mark.parametrize(("slot", "threads"), [("cpu:0", "1"), ("cuda:0", "7")])
def test_a_cpu_job_gets_one_thread_per_library(tmp_path, monkeypatch, slot, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    command = (sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['KDHARNESS_PARENT'])")
    executor = SubprocessExecutor(Home(tmp_path), command)
    handle = executor.submit(("a",), slot)
    while executor.poll(handle) is None:
        time.sleep(0.01)
    assert Home(tmp_path).log("a").read_text().split() == [threads, str(os.getpid())]


FAULTS = """
import ctypes, resource
def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        blocks = [ctypes.memset(libc.malloc(8 << 20), 1, 8 << 20) for _ in range(8)]
        for block in blocks:
            libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
ctypes.memset.restype, ctypes.memset.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
faults(2)
print(faults(4))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc reads GLIBC_TUNABLES")
def test_a_job_keeps_the_memory_that_it_frees(tmp_path, monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    executor = SubprocessExecutor(Home(tmp_path), (sys.executable, "-c", FAULTS))
    handle = executor.submit(("a",), "cpu:0")
    while executor.poll(handle) is None:
        time.sleep(0.01)
    assert int(Home(tmp_path).log("a").read_text()) < 500  # 64 MiB are 16,384 pages, each time zeroed anew


def test_a_crash_in_native_code_leaves_its_stack_in_the_log(tmp_path):
    executor = SubprocessExecutor(Home(tmp_path), (sys.executable, "-c", "import ctypes; ctypes.string_at(0)"))
    handle = executor.submit(("a",), "cpu:0")
    while executor.poll(handle) is None:
        time.sleep(0.01)
    assert executor.poll(handle) == -signal.SIGSEGV
    assert "Segmentation fault" in Home(tmp_path).log("a").read_text()


ORPHAN = """
import os, sys, time
from kdharness.runtime.parent import ParentWatch
grace, polite = float(sys.argv[1]), sys.argv[2] == "polite"
told = []
with ParentWatch(lambda: told.append(1), exit_code=75, grace_seconds=grace, poll_seconds=0.02):
    open(sys.argv[3], "w").write(str(os.getpid()))
    while not (told and polite):
        time.sleep(0.01)
open(sys.argv[3] + ".saved", "w").close()
"""
PARENT = """
import os, subprocess, sys
os.environ["KDHARNESS_PARENT"] = str(os.getpid())
subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], start_new_session=True).wait()
"""


@pytest.mark.parametrize("manners", ["polite", "hanging"])
def test_no_job_outlives_its_runner(tmp_path, manners):
    grace = "20" if manners == "polite" else "0.2"
    told = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, ORPHAN, grace, manners, str(told)])
    wait_for(lambda: told.exists() and told.read_text())
    pid = int(told.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: gone(pid))
    assert Path(f"{told}.saved").exists() == (manners == "polite")


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_job_takes_no_module_from_the_working_directory(tmp_path: Path) -> None:
    """A file called typer.py among the user's own must neither run nor break a job."""
    (tmp_path / "typer.py").write_text("raise SystemExit('code of the working directory ran')")
    done = subprocess.run([*_own_command(), "--version"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
