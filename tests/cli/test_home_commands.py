"""`doctor`, `db backup`, `db verify`: what they say of a finished home, and of a damaged one."""

import json
import shutil
import sqlite3

import pytest
from small_study import STUDY

from kdharness.core.errors import ExitCode


@pytest.fixture
def home(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "home")


def test_doctor_says_what_it_looked_at(kdharness, finished):
    answer = kdharness("doctor", "--home", finished)
    assert answer.code == 0 and "SQLite" in answer.out
    told = json.loads(kdharness("doctor", "--json", "--home", finished).out)
    assert told["ok"] and {check["name"] for check in told["checks"]} >= {"disk", "GPU", "data", "file system"}


def test_a_machine_that_refuses_is_told_before_anything_is_written(kdharness, tmp_path, monkeypatch):
    monkeypatch.setattr("kdharness.runtime.doctor.NEEDED_BYTES", 1 << 60)
    (tmp_path / "small.yaml").write_text(STUDY)
    answer = kdharness("run", tmp_path / "small.yaml", "--home", tmp_path / "home")
    assert answer.code == ExitCode.ENVIRONMENT_REFUSED and "the disk is full" in answer.err
    assert not (tmp_path / "home").exists()
    assert kdharness("doctor", "--home", tmp_path / "home").code == ExitCode.ENVIRONMENT_REFUSED


def test_backup_and_verify(kdharness, home, tmp_path):
    answer = kdharness("db", "backup", tmp_path / "kept.db", "--home", home)
    assert answer.code == 0 and (tmp_path / "kept.db").stat().st_mode & 0o077 == 0
    told = json.loads(kdharness("db", "verify", "--files", "--json", "--home", home).out)
    assert (told["problems"], told["files"]) == ([], 5)
    (weights, *others) = sorted(home.glob("artifacts/runs/*/student.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    others[0].unlink()
    answer = kdharness("db", "verify", "--files", "--home", home)
    assert answer.code == ExitCode.ENVIRONMENT_REFUSED
    assert "damaged" in answer.err and "gone" in answer.err and answer.err.count("\n") == 2
    with sqlite3.connect(home / "results.db") as connection:
        connection.execute("UPDATE metrics SET value = 1")
    connection.close()
    assert "committed" in kdharness("db", "verify", "--home", home).err
    assert kdharness("report", "small", "--home", home).code == ExitCode.ENVIRONMENT_REFUSED
    assert kdharness("db", "backup", tmp_path / "bad.db", "--home", home).code == ExitCode.ENVIRONMENT_REFUSED
    assert not (tmp_path / "bad.db").exists()
    assert kdharness("db", "verify", "--home", tmp_path / "none").code == ExitCode.BAD_INPUT


def test_gc_lists_first_and_removes_when_told(kdharness, home):
    listed = kdharness("gc", "--weights", "--home", home)
    assert listed.code == 0 and "5 things" in listed.out and "--yes does it" in listed.out
    told = json.loads(kdharness("gc", "--weights", "--dry-run", "--yes", "--json", "--home", home).out)
    assert len(told["found"]) == 5 and told["removed"] == []
    before = kdharness("report", "small", "--format", "md", "--home", home).out
    assert "removed 5 of 5" in kdharness("gc", "--weights", "--yes", "--home", home).out
    assert kdharness("report", "small", "--format", "md", "--home", home).out == before
    assert "nothing to remove" in kdharness("gc", "--weights", "--home", home).out
    assert json.loads(kdharness("db", "verify", "--files", "--json", "--home", home).out)["problems"] == []
