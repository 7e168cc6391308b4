"""`make guards`: each guard that a promise rests on is taken out of a copy of the project; a test must turn red.

A guard that no test misses would be lost at the next tidying up.
"""

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
HANGS_AFTER = 120.0
"""Seconds that a test may take; one that hangs without its guard misses it too."""
SECONDS = "CPU seconds: "
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["pytest", "torch", "pandas", "sqlalchemy.orm", "alembic.command", "pydantic", "typer"]
)
"""Each run of pytest is forked from a process that has imported what they all import, nothing of ours among it."""


@dataclass(frozen=True)
class Guard:
    """What is taken out (`old` becomes `new` in `file`), and the test that must notice."""

    name: str
    file: str
    old: str
    new: str
    test: str


CLAIMS = "tests/results/test_store_claims.py::"
DATABASE = "tests/results/test_store_database.py::"
FILES = "tests/training/test_files.py::"
GUARDS = (
    Guard(
        "the fence",
        "kdharness/results/leases.py",
        'schema.Run.fence == bindparam("its_fence")',
        'schema.Run.fence >= bindparam("its_fence")',
        CLAIMS + "test_a_writer_whose_lease_was_reaped_writes_nothing",
    ),
    Guard(
        "BEGIN IMMEDIATE",
        "kdharness/results/database.py",
        '"BEGIN IMMEDIATE" if write else "BEGIN"',
        '"BEGIN"',
        DATABASE + "test_a_write_locks_the_database_before_it_reads",
    ),
    Guard(
        "the gate's lock",
        "kdharness/results/gate.py",
        "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        DATABASE + "test_the_gate_lets_one_in_at_a_time_and_names_who_stands_in_it",
    ),
    Guard(
        "the gate before a write",
        "kdharness/results/database.py",
        "gate(gate_of(self.path), WAIT_SECONDS) as held:",
        "gate(self.path.with_name('no gate'), WAIT_SECONDS) as held:",
        DATABASE + "test_a_write_waits_at_the_gate",
    ),
    Guard(
        "a finished file's name under its run's lease",
        "kdharness/runtime/sink.py",
        "publish = partial(put_in_place, beside, path)",
        "publish = partial(put_in_place, beside, path)\n            publish()",
        "tests/runtime/test_publishing.py::test_a_job_that_stood_still_does_not_replace_its_successors_weights",
    ),
    Guard(
        "commits that are gone",
        "kdharness/results/commits.py",
        "if mark is not None and number < mark.number:",
        "if False:",
        "tests/results/test_commits.py::test_an_older_copy_in_the_same_file_is_noticed",
    ),
    Guard(
        "a hot journal that was removed",
        "kdharness/results/commits.py",
        "_MOMENT)  # who has just undone the half puts the file back\n        mark = _read(path)",
        "_MOMENT)\n        mark = None",
        "tests/results/test_commits.py::test_half_a_commit_without_its_journal_is_not_taken_for_a_whole",
    ),
    Guard(
        "the checksum of a row",
        "kdharness/results/checksums.py",
        "    if found is not None:",
        "    if False:",
        "tests/results/test_store_backup.py::test_a_changed_row_gets_into_no_table",
    ),
    Guard(
        "the checksum of a row that was read by columns",
        "kdharness/results/checksums.py",
        "if crc is not None and crc != row_crc(*row):",
        "if False:",
        "tests/results/test_store_backup.py::test_a_changed_row_gets_into_no_table",
    ),
    Guard(
        "which metrics a run has",
        "kdharness/results/columns.py",
        "if run_id not in found and metric in had[names]:",
        "if False:",
        "tests/results/test_store_backup.py::test_a_number_that_is_lost_is_missed",
    ),
    Guard(
        "synchronous=FULL",
        "kdharness/results/database.py",
        '"synchronous": "FULL"',
        '"synchronous": "OFF"',
        DATABASE + "test_every_connection_is_prepared",
    ),
    Guard(
        "fsync of a file",
        "kdharness/training/files.py",
        "os.fsync(file.fileno())",
        "pass",
        FILES + "test_a_file_is_safe_before_its_name_and_its_name_before_anyone_is_told",
    ),
    Guard(
        "fsync of its directory",
        "kdharness/training/files.py",
        "os.fsync(directory)",
        "pass",
        FILES + "test_a_file_is_safe_before_its_name_and_its_name_before_anyone_is_told",
    ),
    Guard(
        "rename",
        "kdharness/training/files.py",
        'beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")',
        "beside = path",
        FILES + "test_a_new_checkpoint_replaces_the_file_and_does_not_write_into_it",
    ),
    Guard(
        "the hash",
        "kdharness/training/checkpoint.py",
        "if found != sha256:",
        "if False:",
        FILES + "test_no_damage_goes_unnoticed",
    ),
    Guard(
        "a teacher's hash",
        "kdharness/runtime/inputs.py",
        "if found != expected:",
        "if False:",
        "tests/runtime/test_training_jobs.py::test_wrong_teacher_weights_fail_the_student_before_it_trains",
    ),
    Guard(
        "the primary key of results",
        "migrations/versions/0001_first_schema.py",
        'sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_metrics")),\n        sqlite_with_rowid=False,',
        "",
        "tests/results/test_store_results.py::test_the_database_itself_refuses_a_second_result",
    ),
    Guard(
        "weights_only of a checkpoint",
        "kdharness/training/checkpoint.py",
        "weights_only=True",
        "weights_only=False",
        FILES + "test_a_checkpoint_runs_no_code",
    ),
    Guard(
        "weights_only of a released file",
        "kdharness/models/released/child.py",
        "weights_only=True",
        "weights_only=False",
        "tests/models/test_released_files.py::test_a_hostile_or_broken_file_is_refused",
    ),
    Guard(
        "YAML's limit of size",
        "kdharness/study/document.py",
        "if len(data) > MAX_BYTES:",
        "if False:",
        "tests/study/test_study_documents.py::test_a_large_file_is_refused_unread",
    ),
    Guard(
        "YAML's limit of depth",
        "kdharness/study/document.py",
        "MAX_DEPTH = 30",
        "MAX_DEPTH = 3_000",
        "tests/study/test_study_documents.py::test_a_hostile_file_is_refused_within_a_second",
    ),
    Guard(
        "YAML's limit of values",
        "kdharness/study/document.py",
        "MAX_NODES = 10_000",
        "MAX_NODES = 1 << 40",
        "tests/study/test_study_documents.py::test_a_hostile_file_is_refused_within_a_second",
    ),
    Guard(
        "LaTeX escaping",
        "kdharness/reporting/latex.py",
        "    if character in _TEXT:\n        return _TEXT[character]\n",
        "",
        "tests/reporting/test_render.py::test_latex_has_the_structure_of_a_booktabs_table",
    ),
    Guard(
        "the sealed test: metrics",
        "kdharness/results/progress.py",
        '        if name.startswith("test_"):\n            raise',
        '        if name.startswith("nothing"):\n            raise',
        "tests/results/test_store_results.py::test_sealed_metrics_are_nowhere_before_the_run_is_complete",
    ),
    Guard(
        "the sealed test: images",
        "kdharness/datasets/splitting.py",
        "raise SealedSplit(",
        "print(",
        "tests/datasets/test_digits.py::test_sealed_and_senseless_parts",
    ),
    Guard(
        "the search's teacher",
        "kdharness/study/check_search.py",
        'if search.teachers == "imported":',
        "if False:",
        "tests/study/test_study_problems.py::test_problems_of_a_search",
    ),
    Guard(
        "the images of the search's teacher",
        "kdharness/study/searching/row.py",
        "trained(self._study.spec, self._dataset, model, part.validation)",
        "trained(self._study.spec, self._dataset, model)",
        "tests/study/test_study_search.py::test_search_runs_and_their_teacher_train_without_the_validation_images",
    ),
    Guard(
        "dead owners by start time",
        "kdharness/results/owner.py",
        "return _start_of(owner.pid) == owner.pid_start",
        "return _start_of(owner.pid) is not None",
        CLAIMS + "test_an_owner_is_its_process_and_no_other",
    ),
    Guard(
        "the cap on attempts",
        "kdharness/results/leases.py",
        "if counted and futile >= max_attempts:",
        "if False:",
        CLAIMS + "test_three_attempts_without_a_checkpoint_fail_the_run",
    ),
    Guard(
        "the watch over the parent",
        "kdharness/runtime/parent.py",
        "return expected is None or os.getppid() == int(expected)",
        "return True",
        "tests/runtime/test_executors.py::test_no_job_outlives_its_runner",
    ),
    Guard(
        "the watchdog",
        "kdharness/runtime/watchdog.py",
        "self._on_hang(still)",
        "pass",
        "tests/runtime/test_watchdog.py::test_steps_and_work_are_signs_of_life",
    ),
    Guard(
        "what silent jobs hold",
        "kdharness/runtime/jobs.py",
        "if any(is_child(silent[run_id], handle.pid) for run_id in handle.run_ids if run_id in silent):",
        "if False:",
        "tests/runtime/test_watchdog.py::test_a_job_that_lost_its_lease_by_silence_is_ended_by_its_runner",
    ),
    Guard(
        "no network file system",
        "kdharness/results/database.py",
        "if mount is not None and not mount.keeps_locks:",
        "if False:",
        DATABASE + "test_a_network_file_system_is_refused",
    ),
    Guard(
        "escape codes",
        "kdharness/runtime/sink.py",
        'text = printable(" ".join(str(error).split()))',
        'text = " ".join(str(error).split())',
        "tests/runtime/test_training_jobs.py::test_an_error_in_a_method_is_told_with_its_traceback_in_the_log",
    ),
    Guard(
        "formulas in CSV",
        "kdharness/reporting/render_csv.py",
        'f"\'{value}" if',
        "value if",
        "tests/reporting/test_render.py::test_csv_is_rfc_4180_and_no_formula",
    ),
)


def copy_of_the_project(place: Path) -> Path:
    """Where tests import the package from the copy, its migrations included."""
    for folder in ("kdharness", "migrations", "tests", "studies", "docker", ".ci"):
        if (ROOT / folder).is_dir():
            shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.glob("*.*"):
        if file.is_file():
            shutil.copy(file, place)
    (place / "kdharness" / "migrations").symlink_to(place / "migrations", target_is_directory=True)
    return place


@dataclass(frozen=True)
class Ran:
    """What came of a run of pytest."""

    code: int | None
    """1 where a test failed; None where it hung."""
    said: str
    """The last line."""
    seconds: float
    """Of CPU time, its own and its children's."""


def run_tests(place: Path, tests: Sequence[str], *, compiled: bool = False) -> Ran:
    """Run these tests of the copy; `compiled`: keep what Python makes of the files, for later runs."""
    said = place / "said.txt"
    process = PROCESSES.Process(target=_run_tests, args=(place, list(tests), said, compiled))
    process.start()
    process.join(HANGS_AFTER * (len(tests) if compiled else 1))
    hung = process.exitcode is None
    assert process.pid is not None  # it was started
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # and whatever the tests have left behind
    process.join()
    text, _, seconds = said.read_text(errors="replace").rpartition(SECONDS)
    lines = text.strip().splitlines()
    return Ran(None if hung else process.exitcode, lines[-1] if lines else "", float(seconds) if lines else 0.0)


def _run_tests(place: Path, tests: list[str], said: Path, compiled: bool) -> None:
    """In a process of its own."""
    os.setsid()
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(place)
    sys.path.insert(0, str(place))
    sys.dont_write_bytecode = not compiled
    os.environ |= {"PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "" if compiled else "1"}
    import pytest

    code = int(pytest.main(["-p", "no:cacheprovider", "-x", "--no-header", *tests]))
    times = os.times()
    sys.stdout.write(f"{SECONDS}{times.user + times.system + times.children_user + times.children_system:.2f}\n")
    sys.stdout.flush()
    os._exit(code)  # threads that a test without its guard has left may not hold it


def without(place: Path, guard: Guard) -> Ran:
    """What its test comes to without the guard."""
    path = place / guard.file
    text, times = path.read_text(), path.stat()
    assert text.count(guard.old) == 1, f"{guard.name}: {guard.file} has changed"
    path.write_text(text.replace(guard.old, guard.new))
    try:
        return run_tests(place, [guard.test])
    finally:
        path.write_text(text)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # what was compiled of it is valid again


def is_missed(ran: Ran) -> bool:
    """Whether the test failed, or hung; one that could not even be collected (2) says nothing."""
    return ran.code in (1, None)


def main(parts: Sequence[str]) -> int:
    """Exit code 0 where every guard is missed; `parts` of names choose some."""
    guards = [guard for guard in GUARDS if not parts or any(part in guard.name for part in parts)]
    os.environ["OMP_NUM_THREADS"] = "1"
    began = time.monotonic()
    place = copy_of_the_project(Path(tempfile.mkdtemp(prefix="kdharness-guards-")))
    try:
        whole = run_tests(place, sorted({guard.test for guard in guards}), compiled=True)
        if whole.code != 0:
            sys.stdout.write(f"the tests fail as they are: {whole.said}\n")
            return 1
        found, seconds = [], whole.seconds
        for guard in guards:
            ran = without(place, guard)
            found.append(is_missed(ran))
            seconds += ran.seconds
            how = "red" if ran.code == 1 else "hangs" if ran.code is None else f"GREEN ({ran.said})"
            sys.stdout.write(f"{how}: without {guard.name}: {guard.test}\n")
            sys.stdout.flush()
        took = f"{seconds:.0f} CPU seconds, {time.monotonic() - began:.0f} s in all"
        sys.stdout.write(f"{sum(found)} of {len(found)} guards are missed by their test; {took}\n")
        return int(not all(found))
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
