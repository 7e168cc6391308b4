"""An upgrade that is killed at any statement changed nothing and goes on the next time; two at once are one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_migrations import OLD, rows

from kdharness.results.backup import look_into
from kdharness.results.upgrade import upgrade

KILLED = """
import json, os, shutil, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from kdharness.results import upgrade as upgrading
import alembic.autogenerate, alembic.command, alembic.config, alembic.ddl, alembic.operations.batch

old, place, stride = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def upgrade(path, kill_at):
    said = []
    def count(*_):
        said.append(1)
        if len(said) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "commit", count)
    upgrading.upgrade(path)
    return len(said)

def in_a_child(path, kill_at):
    "How many statements it took; None where it was killed."
    answer = path.with_suffix(".count")
    pid = os.fork()
    if not pid:
        try:
            answer.write_text(str(upgrade(path, kill_at)))
        finally:
            os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return int(answer.read_text()) if code == 0 else None

def fresh(name):
    (place / name).mkdir()
    return Path(shutil.copy(old, place / name / "results.db"))

total = in_a_child(fresh("whole"), 0)
killed = []
for number in [*range(total, 0, -stride)]:
    path = fresh(f"killed-{number}")
    assert in_a_child(path, number) is None, number
    killed.append(str(path))
print(json.dumps([total, killed]))
"""


def killed_upgrades(old, place, stride):
    """Databases whose upgrade was killed, each at another statement, and how many statements there are."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(old), str(place), str(stride)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    total, killed = json.loads(done.stdout)
    return total, [Path(path) for path in killed]


@pytest.mark.parametrize(("old", "stride"), [(OLD[0], 40), (OLD[-2], 3)], ids=["from the first", "from the last"])
def test_an_upgrade_killed_at_any_statement_changed_nothing(old, stride, tmp_path):
    """Every `stride`-th statement before the last one, which is the commit; `make chaos` has them all."""
    before = rows(old)
    total, killed = killed_upgrades(old, tmp_path, stride)
    upgrade(path := Path(shutil.copy(old, tmp_path / "results.db")))
    wanted = rows(path)
    assert total > 5 and len(killed) == -(-total // stride)
    for database in killed:
        assert rows(database) == before, database
        kept = database.parent.glob("*.backup")
        assert all(rows(one) == before for one in kept), "what is called a backup is whole"
    upgrade(killed[-1])
    assert rows(killed[-1]) == wanted and look_into(killed[-1]) == []


def test_a_backup_is_called_one_when_it_is_whole(tmp_path, monkeypatch):
    from kdharness.results import upgrade as module

    path = Path(shutil.copy(OLD[-2], tmp_path / "results.db"))
    copy_into = module.copy_into

    def killed_half_way(database, target):
        copy_into(database, target)
        os.truncate(target, 8192)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "copy_into", killed_half_way)
    with pytest.raises(KeyboardInterrupt):
        upgrade(path)
    assert list(tmp_path.glob("*.backup")) == [] and rows(path) == rows(OLD[-2])


UPGRADER = """
import sys
from pathlib import Path
from kdharness.results.upgrade import upgrade
print("ready", flush=True)
sys.stdin.readline()
backup = upgrade(Path(sys.argv[1]))
print(backup.name if backup else "nothing to do")
"""


def test_upgraders_at_once_take_turns(tmp_path):
    path = Path(shutil.copy(OLD[-2], tmp_path / "results.db"))
    start = [sys.executable, "-c", UPGRADER, str(path)]
    upgraders = [subprocess.Popen(start, stdin=-1, stdout=-1, text=True) for _ in range(2)]
    for one in upgraders:
        assert one.stdout.readline() == "ready\n"
    for one in upgraders:
        one.stdin.write("\n")
        one.stdin.flush()
    said = sorted(one.communicate()[0].strip() for one in upgraders)
    assert [one.returncode for one in upgraders] == [0, 0]
    backups = [one.name for one in tmp_path.glob("*.backup")]
    assert len(backups) == 1 and said == sorted([*backups, "nothing to do"])
    assert rows(tmp_path / backups[0]) == rows(OLD[-2]) and look_into(path) == []
