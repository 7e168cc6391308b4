"""The file itself: created, refused, damaged, locked, and written to by processes that are killed."""

import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sample_study import claim_one, open_store, save, wanted

from kdharness.core.errors import BadInput, EnvironmentRefused, Unavailable
from kdharness.results import database as database_module
from kdharness.results import gate as gate_module
from kdharness.results import mounts as mounts_module
from kdharness.results.backup import backup, look_into
from kdharness.results.commits import gate_of
from kdharness.results.database import Database, copied_from, journal_mode
from kdharness.results.gate import gate, lock_holders, parts_of
from kdharness.results.mounts import mount_of
from kdharness.results.owner import is_alive
from kdharness.results.upgrade import upgrade


def test_there_must_be_results_or_leave_to_make_them(tmp_path):
    with pytest.raises(BadInput, match=r"no results here.*\n.*kdharness run") as error:
        open_store(tmp_path / "none", create=False)
    assert error.value.exit_code == 2
    assert not (tmp_path / "none").exists()


def test_what_is_made_is_the_users_alone(tmp_path):
    open_store(tmp_path / "home").close()
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "home" / "results.db").stat().st_mode) == 0o600


def set_version(home: Path, version: str):
    with sqlite3.connect(home / "results.db") as connection:
        connection.execute("UPDATE kdharness_version SET version_num = ?", (version,))
    connection.close()


@pytest.mark.parametrize("create", [True, False])
def test_a_newer_database_is_refused(tmp_path, empty_database, create):
    shutil.copy(empty_database, tmp_path)
    set_version(tmp_path, "9999")
    before = (tmp_path / "results.db").read_bytes()
    with pytest.raises(EnvironmentRefused, match="newer kdharness") as error:
        open_store(tmp_path, create=create)
    assert error.value.exit_code == 3
    assert (tmp_path / "results.db").read_bytes() == before


def test_a_worker_never_upgrades(tmp_path, empty_database, monkeypatch):
    shutil.copy(empty_database, tmp_path)
    monkeypatch.setattr("kdharness.migrations.HEAD", "9999")
    with pytest.raises(EnvironmentRefused, match="db upgrade"):
        open_store(tmp_path, create=False)


def overwrite(path, text):
    path.write_bytes(text)


@pytest.mark.parametrize("content", [b"not a database, but long enough to have a header " * 100])
def test_a_file_that_is_no_database_is_refused(tmp_path, content):
    overwrite(tmp_path / "results.db", content)
    for create in (True, False):
        with pytest.raises(EnvironmentRefused, match="restore a backup"):
            open_store(tmp_path, create=create)
    assert (tmp_path / "results.db").read_bytes() == content


def test_anothers_database_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "results.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    connection.close()
    with pytest.raises(EnvironmentRefused, match="not one of kdharness"):
        open_store(tmp_path)


def test_a_damaged_page_is_refused_without_a_traceback(store, tmp_path):
    save(store, wanted([float(t) for t in range(40)], range(5), teacher=False))
    store.close()
    path = tmp_path / "home" / "results.db"
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 20] = b"\xff" * (4096 * 19)
    overwrite(path, content)
    with pytest.raises(EnvironmentRefused, match="restore a backup"):
        open_store(tmp_path / "home", create=False).queue()


def test_the_journal_follows_the_library():
    assert {version: journal_mode(version) for version in [
        (3, 40, 1), (3, 44, 5), (3, 44, 6), (3, 44, 9), (3, 45, 0), (3, 50, 6), (3, 50, 7), (3, 51, 0), (3, 51, 2),
        (3, 51, 3), (3, 52, 0),
    ]} == {
        (3, 40, 1): "TRUNCATE", (3, 44, 5): "TRUNCATE", (3, 44, 6): "WAL", (3, 44, 9): "WAL", (3, 45, 0): "TRUNCATE",
        (3, 50, 6): "TRUNCATE", (3, 50, 7): "WAL", (3, 51, 0): "TRUNCATE", (3, 51, 2): "TRUNCATE", (3, 51, 3): "WAL",
        (3, 52, 0): "WAL",
    }  # fmt: skip


def test_every_connection_is_prepared(store):
    wanted_pragmas = {
        "foreign_keys": 1,
        "synchronous": 2,
        "trusted_schema": 0,
        "busy_timeout": 60000,
        "mmap_size": 0,
        "journal_mode": journal_mode(sqlite3.sqlite_version_info).lower(),
    }
    for transaction in (store._database.read, store._database.write):
        with transaction() as connection:
            found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted_pragmas}
        found["mmap_size"] = found["mmap_size"] or 0
        assert found == wanted_pragmas


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
50 22 0:45 / /mnt/lab\\040share rw,relatime shared:9 - nfs4 server:/lab rw
51 50 254:1 / /mnt/lab\\040share/local rw - ext4 /dev/vdb rw
52 22 0:50 / /mnt/häuser rw - 9p share rw
53 22 0:51 / /ssh rw - fuse.sshfs me@there: rw
54 22 0:52 / /twice rw - cifs //there/x rw
55 54 254:2 / /twice rw - xfs /dev/vdc rw
56 22 0:53 / /usb rw - fuseblk /dev/sdb1 rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "kind", "trusted"),
    [
        ("/home/me/results.db", "ext4", True),
        ("/mnt/lab share/results.db", "nfs4", False),
        ("/mnt/lab share/local/results.db", "ext4", True),
        ("/mnt/lab shared/results.db", "ext4", True),
        ("/mnt/häuser/results.db", "9p", False),
        ("/ssh/results.db", "fuse.sshfs", False),
        ("/twice/results.db", "xfs", True),
        ("/usb/results.db", "fuseblk", True),
    ],
)
def test_the_mount_of_a_path_says_whether_locks_can_be_trusted(path, kind, trusted):
    mount = mount_of(Path(path), MOUNTS)
    assert (mount.kind, mount.keeps_locks) == (kind, trusted)


def test_a_network_file_system_is_refused(tmp_path, monkeypatch):
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(mounts_module, "MOUNTINFO", mounts)
    open_store(tmp_path / "unknown").close()  # no such file: nothing is known against it
    mounts.write_text(f"22 1 0:45 / {tmp_path} rw - nfs4 server:/lab rw\n")
    with pytest.raises(EnvironmentRefused, match=r"nfs4 .*\n.*local disk"):
        open_store(tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_database_with_two_names_is_refused(store, tmp_path):
    store.close()
    (tmp_path / "home" / "also.db").hardlink_to(tmp_path / "home" / "results.db")
    with pytest.raises(EnvironmentRefused, match="2 names"):
        open_store(tmp_path / "home", create=False)
    (tmp_path / "home" / "also.db").unlink()
    open_store(tmp_path / "home", create=False).close()


@pytest.mark.parametrize(
    "added",
    [
        "CREATE TRIGGER evil AFTER INSERT ON studies BEGIN DELETE FROM runs; END",
        "CREATE VIEW evil AS SELECT 1",
    ],
)
def test_what_others_added_to_the_schema_is_not_run(store, tmp_path, added):
    store.close()
    with sqlite3.connect(tmp_path / "home" / "results.db") as connection:
        connection.execute(added)
    connection.close()
    with pytest.raises(EnvironmentRefused, match="evil"):
        open_store(tmp_path / "home", create=False)


def test_two_paths_to_one_file_share_its_gate(store, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "home")
    other = open_store(tmp_path / "link", create=False)
    assert gate_of(other._database.path) == gate_of(store._database.path)
    other.close()


def test_the_gate_lets_one_in_at_a_time_and_names_who_stands_in_it(tmp_path):
    inside, most = [], []

    def enter():
        for _ in range(20):
            with gate(tmp_path / "gate", 10.0):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80
    assert max(most) == 1
    me = re.compile(rf"held by process {os.getpid()} for 0.05 s")
    with gate(tmp_path / "gate", 1.0), pytest.raises(EnvironmentRefused, match=me), gate(tmp_path / "gate", 0.05):
        pass
    with gate(tmp_path / "gate", 1.0):
        pass  # the waiter that gave up does not keep the lock when its turn comes


def test_a_write_waits_at_the_gate(store, tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "WAIT_SECONDS", 0.05)
    inside = gate(gate_of(tmp_path / "home" / "results.db"), 1.0)
    with inside, pytest.raises(Unavailable, match="write lock has been held"):
        save(store, wanted())
    save(store, wanted())


def test_a_write_locks_the_database_before_it_reads(store, tmp_path):
    """BEGIN alone would let others write between what is read and what is written because of it."""
    foreign = sqlite3.connect(tmp_path / "home" / "results.db", isolation_level=None, timeout=0)
    with store._database.write(), pytest.raises(sqlite3.OperationalError, match="locked"):
        foreign.execute("BEGIN IMMEDIATE")
    foreign.close()


def test_a_foreign_lock_is_an_error_with_a_remedy(store, tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "WAIT_SECONDS", 0.05)
    foreign = sqlite3.connect(tmp_path / "home" / "results.db", isolation_level=None)
    foreign.execute("BEGIN EXCLUSIVE")
    database = Database(tmp_path / "home" / "results.db")
    with pytest.raises(EnvironmentRefused, match="another program holds the file"), database.write():
        pass
    foreign.execute("ROLLBACK")
    foreign.close()
    with database.write():
        pass
    database.close()


def test_a_wait_is_told_of_soon_and_then_every_ten_seconds():
    assert list(parts_of(60.0)) == [2.0, 10.0, 10.0, 10.0, 10.0, 10.0, 8.0]
    assert list(parts_of(1.0)) == [1.0]


WAITS = {
    "write": lambda home, store: save(store, wanted()),
    "read": lambda home, store: store.studies(),
    "gate": lambda home, store: save(store, wanted()),
    "open": lambda home, store: open_store(home, create=False).close(),
    "open at the gate": lambda home, store: upgrade(home / "results.db"),
    "where it lived": lambda home, store: copied_from(home / "results.db"),
    "verify": lambda home, store: look_into(home / "results.db"),
    "backup": lambda home, store: backup(home / "results.db", home / "copy.db"),
}


@pytest.mark.parametrize("what", WAITS)
def test_who_is_waited_for_is_told_again_and_again(store, tmp_path, monkeypatch, caplog, what):
    """Held a little longer than two notices; then the work is done as if nothing had been."""
    monkeypatch.setattr(gate_module, "FIRST_NOTICE_SECONDS", 0.1)
    monkeypatch.setattr(gate_module, "NOTICE_SECONDS", 0.1)
    path = tmp_path / "home" / "results.db"
    holder = [sys.executable, "-c", HOLDER, str(gate_of(path) if what.endswith("gate") else path)]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        threading.Timer(0.35, process.stdin.close).start()
        WAITS[what](tmp_path / "home", store)
    said = [record.getMessage() for record in caplog.records]
    assert all("waiting for the results database" in one for one in said)
    assert sum(str(process.pid) in one for one in said) >= 2
    with store._database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60000


HOLDER = """
import fcntl, os, sqlite3, sys
if sys.argv[1].endswith(".gate"):
    file = open(sys.argv[1], "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    print(os.getpid(), file=file, flush=True)
else:
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


def test_the_holders_of_a_lock_are_named(tmp_path):
    file = tmp_path / "results.db"
    file.write_text("")
    inode = file.stat().st_ino
    (tmp_path / "locks").write_text(
        f"1: POSIX  ADVISORY  WRITE 77 fe:00:{inode} 1073741824 1073742335\n"
        f"1: -> POSIX  ADVISORY  WRITE 78 fe:00:{inode} 1073741824 1073742335\n"
        f"2: POSIX  ADVISORY  READ {os.getpid()} fe:00:{inode} 1 1\n"
        f"3: FLOCK  ADVISORY  WRITE 79 fe:00:{inode + 1} 0 EOF\nodd\n"
    )
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "comm").write_text("sqlite3\n")
    assert lock_holders(file, tmp_path / "locks", tmp_path) == ["77 (sqlite3)"]
    assert lock_holders(file, tmp_path / "none", tmp_path) == []


def test_a_failed_write_leaves_nothing_and_opens_the_gate(store):
    with pytest.raises(ZeroDivisionError), store._database.write() as connection:
        connection.exec_driver_sql("INSERT INTO studies (name, created_ms) VALUES ('x', 1)")
        raise ZeroDivisionError
    assert store.studies() == []
    assert save(store, wanted()).new == 3


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[2])
from sample_study import open_store, claim_one
store = open_store(sys.argv[1], create=False)
lease = claim_one(store, store.queue()[0].run_id)
store.commit_epoch(lease, 1, 10, {f"train_{n}": 1.0 for n in range(20)}, None)
with store._database.write() as connection:
    # more than SQLite's page cache: half of it stands in the file itself when the kill comes
    for n in range(6):
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS filler (x BLOB)")
        connection.exec_driver_sql("INSERT INTO filler VALUES (randomblob(1000000))")
    connection.exec_driver_sql("UPDATE runs SET epoch = 99")
    print("inside", flush=True)
    time.sleep(60)
"""


def test_kill_9_inside_a_write_leaves_a_readable_database(store, tmp_path):
    save(store, wanted(teacher=False))
    home = tmp_path / "home"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(home), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "inside\n"
    assert (home / "results.db").stat().st_size > 2_000_000
    child.send_signal(signal.SIGKILL)
    child.communicate()
    shutil.copytree(home, tmp_path / "as it was left")
    assert look_into(tmp_path / "as it was left" / "results.db") == []
    # the read-only connection cannot roll back by itself; the gate and the lock are free at once
    assert store.query("SELECT count(*) FROM sqlite_master WHERE name = 'filler'")[1] == [(0,)]
    with store._database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    run = store.run(store.queue()[0].run_id)
    assert (run.state, run.epoch, len(store.epoch_metrics(run.run_id))) == ("running", 1, 20)
    (reaped,) = store.reap(is_alive)
    assert (reaped.cause, reaped.owner.pid) == ("dead", child.pid)
    claim_one(store, run.run_id)


def test_writes_are_short(store):
    """Everybody waits for the writer: a study of a thousand runs goes in well under half a second."""
    spent = []
    for first in (0, 200, 400):  # the shortest: beside other programs a processor itself is slower
        runs = wanted([float(t) for t in range(first, first + 200)], range(5), teacher=False)
        began = time.process_time()
        save(store, runs)
        spent.append(time.process_time() - began)
    assert min(spent) < 0.5
