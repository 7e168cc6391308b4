"""Commits that were made and are gone, and half a commit that nothing can undo any more, are noticed."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sample_study import open_store, save, wanted

from kdharness.core.errors import EnvironmentRefused
from kdharness.core.home import Home
from kdharness.results.backup import backup, look_into
from kdharness.results.commits import gate_of, journal_of
from kdharness.runtime.doctor import checkup

INSIDE = """
import sys, time
sys.path.insert(0, sys.argv[2])
from sample_study import open_store
store = open_store(sys.argv[1], create=False)
with store._database.write() as connection:
    for table in ("runs", "settings", "study_runs"):  # more than SQLite's page cache: half of it is in the file
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS filler (x BLOB)")
        for n in range(4):
            connection.exec_driver_sql("INSERT INTO filler VALUES (randomblob(1000000))")
    print("inside", flush=True)
    time.sleep(60)
"""


def killed_inside_a_write(home):
    command = [sys.executable, "-c", INSIDE, str(home), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "inside\n"
        child.send_signal(signal.SIGKILL)


def refused(root, what):
    """By everyone who opens it, and named by `doctor` and `db verify`."""
    with pytest.raises(EnvironmentRefused, match=what) as error:
        open_store(root, create=False)
    assert error.value.exit_code == 3 and "results.db.gate" in error.value.remedy
    with pytest.raises(EnvironmentRefused, match=what):
        open_store(root)
    assert any(what in check.text for check in checkup(Home.at(root)) if check.status == "refused")
    assert any(what in problem for problem in look_into(root / "results.db"))
    return True


@pytest.fixture
def root(tmp_path, store):
    save(store, wanted())
    return tmp_path / "home"


def test_an_older_copy_in_the_same_file_is_noticed(root, store, tmp_path):
    """As after `cp`, or after a `-wal` was removed: the same file with fewer rows."""
    path = root / "results.db"
    older = path.read_bytes()
    store.note_study("mini", "one more")
    store.note_study("mini", "and another")
    newer = path.read_bytes()
    path.write_bytes(older)
    with pytest.raises(EnvironmentRefused, match=r"last 2 commits .* are gone"):
        store.note_study("mini", "on top")
    store.close()
    assert refused(root, "2 commits") and path.read_bytes() == older, "and it is told again"
    path.write_bytes(newer)
    open_store(root, create=False).close()
    path.write_bytes(older)
    gate_of(path).unlink()
    again = open_store(root, create=False)
    assert again.study_notes("mini") == []
    again.note_study("mini", "accepted")
    again.close()


def test_a_backup_put_in_place_is_another_file_and_accepted(root, store, tmp_path):
    backup(root / "results.db", tmp_path / "kept.db")
    store.note_study("mini", "one more")
    store.close()
    (tmp_path / "kept.db").rename(root / "results.db")
    assert look_into(root / "results.db") == []
    again = open_store(root)
    again.note_study("mini", "goes on")
    assert [note.text for note in again.study_notes("mini")] == ["goes on"]
    again.close()


def test_what_writes_nothing_costs_no_commit(root, store):
    before = (root / "results.db").read_bytes()
    with store._database.write() as connection:
        connection.exec_driver_sql("UPDATE runs SET epoch = 99 WHERE run_id = 'nobody'")
    assert (root / "results.db").read_bytes() == before
    with pytest.raises(ZeroDivisionError), store._database.write() as connection:
        connection.exec_driver_sql("UPDATE runs SET epoch = 99")
        raise ZeroDivisionError
    assert (root / "results.db").read_bytes() == before
    open_store(root, create=False).close()


@pytest.mark.skipif("sqlite3.sqlite_version_info >= (3, 44, 6)", reason="WAL has no such journal")
@pytest.mark.parametrize("removed", [True, False])
def test_half_a_commit_without_its_journal_is_not_taken_for_a_whole(root, store, tmp_path, removed):
    store.close()
    path = root / "results.db"
    killed_inside_a_write(root)
    assert journal_of(path).stat().st_size > 0 and path.stat().st_size > 2_000_000
    if removed:
        journal_of(path).rename(tmp_path / "aside")
        half = path.read_bytes()
        assert refused(root, "results.db-journal was removed") and path.read_bytes() == half
        (tmp_path / "aside").rename(journal_of(path))
    for _ in range(2):  # the first one rolls it back, and the second one finds that all is well
        again = open_store(root, create=False)
        assert again.query("SELECT count(*) FROM sqlite_master WHERE name = 'filler'")[1] == [(0,)]
        assert len(again.queue("mini")) == 3
        again.close()
    assert look_into(path) == []


def test_a_home_that_was_copied_begins_anew(root, store, tmp_path):
    store.note_study("mini", "one more")
    store.close()
    shutil.copytree(root, tmp_path / "copy")
    connection = sqlite3.connect(tmp_path / "copy" / "results.db")
    connection.execute("PRAGMA user_version=1")
    connection.close()
    open_store(tmp_path / "copy").close()
