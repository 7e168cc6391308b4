"""What is found on a machine before anything is trained: each finding by a machine that has it."""

import os
import resource
import shutil
from collections import namedtuple

import pytest

from kdharness.core.errors import EnvironmentRefused
from kdharness.core.home import Home
from kdharness.results import mounts
from kdharness.runtime import doctor
from kdharness.runtime.doctor import checkup, refuse


def found(home, **how):
    return {check.name: check for check in checkup(home, **how)}


def test_a_sound_machine_refuses_nothing(home, store, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100 << 30))
    checks = checkup(home, thorough=True)
    assert {check.status for check in checks if check.name not in ("MLflow", "file system")} == {"ok"}
    refuse(checks, home)
    assert found(home)["database"].text.startswith("version 00")


def usage(free):
    return namedtuple("usage", "total used free")(1 << 40, 0, free)


@pytest.mark.parametrize(("free", "status"), [(1 << 20, "refused"), (1 << 30, "warning"), (1 << 40, "ok")])
def test_a_full_disk(home, monkeypatch, free, status):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(free))
    check = found(home)["disk"]
    assert check.status == status
    if status == "refused":
        with pytest.raises(EnvironmentRefused, match=r"disk is full.*\n.*kdharness gc"):
            refuse([check], home)


@pytest.mark.parametrize(("limit", "status"), [(32, "refused"), (200, "warning"), (1024, "ok"), (-1, "ok")])
def test_few_open_files(home, monkeypatch, limit, status):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    check = found(home)["open files"]
    assert check.status == status and (status == "ok" or "ulimit" in check.remedy)


@pytest.mark.parametrize(
    ("kind", "status"),
    [("nfs4", "refused"), ("9p", "refused"), ("tmpfs", "warning"), ("overlay", "warning"), ("ext4", "ok")],
)
def test_the_file_system(home, tmp_path, monkeypatch, kind, status):
    monkeypatch.setattr(mounts, "MOUNTINFO", tmp_path / "mountinfo")
    (tmp_path / "mountinfo").write_text(f"22 1 0:45 / / rw - {kind} x rw\n")
    check = found(home)["file system"]
    assert check.status == status and kind in check.text


def test_a_home_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, how: False)
    assert found(Home(tmp_path / "a" / "b"))["home"].status == "refused"
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    assert found(Home(tmp_path / "file" / "home"))["home"].status == "refused"
    assert found(Home(tmp_path / "a" / "b"))["home"].status == "ok"
    tmp_path.chmod(0o777)
    assert found(Home(tmp_path))["home"].status == "warning"


def test_a_database_of_another_version_or_none_or_a_copy(home, store, tmp_path):
    store.close()
    (tmp_path / "copy").mkdir()
    shutil.copy(home.results, tmp_path / "copy")
    check = found(Home(tmp_path / "copy"))["database"]
    assert check.status == "warning" and "a copy" in check.text and str(home.results) in check.text
    home.results.write_bytes(b"x" * 4096)
    assert found(home)["database"].status == "refused"


def test_versions_and_clocks():
    assert doctor._mlflow("3.9.1").status == doctor._mlflow(None).status == "warning"
    assert doctor._mlflow("3.10.0").status == "ok" and doctor._mlflow("4.0").status == "ok"
    assert doctor._clock(0.0).status == "warning"
    assert "WAL-reset" in doctor._sqlite((3, 40, 1)).text and "WAL-reset" not in doctor._sqlite((3, 51, 3)).text
