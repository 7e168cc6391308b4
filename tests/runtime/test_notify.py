"""The user's command hears what happened, and whatever it does changes nothing."""

import json
import shutil
import sys
import time
from collections import namedtuple

import pytest
from test_run_loop import Heard, Pretend, go
from tiny_study import ask, wanted

from kdharness.core.errors import BadInput, ExitCode
from kdharness.core.plugins import configured_notify, configured_server
from kdharness.runtime import notify, scheduler
from kdharness.runtime.notify import Notifier

WRITES = """
import json, os, sys
told = json.load(sys.stdin)
told["variables"] = {name: os.environ["KDHARNESS_" + name] for name in ("EVENT", "STUDY", "TEXT")}
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(told) + chr(10))
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(scheduler, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(scheduler, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(notify, "FINISH_SECONDS", 20.0)


def test_a_study_tells_what_happened_and_how_it_ended(home, store, tmp_path, monkeypatch):
    ids = ask(store, wanted())
    job = Pretend(store)
    job.fate[ids["none0"]] = lambda lease: store.end(lease, "diverged", reason="nan", message="a; $(touch x) loss")
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 20))
    command = (sys.executable, "-c", WRITES, str(tmp_path / "told"))
    heard = Heard()
    assert go(store, home, job, heard, notify=command, slots=("cpu:0",)).exit_code == ExitCode.SOME_FAILED
    told = {one["event"]: one for one in map(json.loads, (tmp_path / "told").read_text().splitlines())}
    assert set(told) == {"diverged", "disk low", "done"}
    assert told["diverged"]["runs"] == [ids["none0"]] and "a; $(touch x) loss" in told["diverged"]["text"]
    assert (told["done"]["complete"], told["done"]["failed"], told["done"]["exit_code"]) == (2, 1, 1)
    assert told["disk low"]["path"] == str(home.root)
    for event, one in told.items():
        assert one["variables"] == {"EVENT": event, "STUDY": "tiny", "TEXT": one["text"]}
    assert any("disk low: 1 MiB free" in text for text in heard.said)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("/nowhere/at/all",), "cannot be started"),
        ((sys.executable, "-c", "raise SystemExit(3)"), "exit code 3"),
        ((sys.executable, "-c", "import time; time.sleep(60)"), "took too long"),
    ],
)
def test_a_command_that_fails_or_hangs_is_complained_of_once(monkeypatch, command, complaint):
    monkeypatch.setattr(notify, "TIMEOUT_SECONDS", 0.1 if complaint == "took too long" else 60.0)
    said = []
    notifier = Notifier(command, "tiny", said.append)
    began = time.monotonic()
    for _ in range(6):
        notifier.tell("failed", "x" * 1_000_000)  # more than a variable takes
    assert time.monotonic() - began < 10
    notifier.finish()
    assert len(said) == 1 and complaint in said[0]


def test_the_users_own_file_names_the_server_that_is_told(tmp_path):
    assert configured_server(tmp_path) is None
    file = tmp_path / "pyproject.toml"
    file.write_text('[tool.kdharness]\nmlflow = "http://127.0.0.1:5000/"\n')
    assert configured_server(tmp_path) == "http://127.0.0.1:5000"
    for wrong, said in (("5000", "address"), ('"file:///etc"', "address"), ('"https://me:secret@x"', "password")):
        file.write_text(f"[tool.kdharness]\nmlflow = {wrong}\n")
        with pytest.raises(BadInput, match=said) as error:
            configured_server(tmp_path)
        assert "secret" not in str(error.value)


def test_only_the_user_s_own_file_names_the_command(tmp_path):
    assert configured_notify(tmp_path) == []
    file = tmp_path / "pyproject.toml"
    file.write_text("[tool.kdharness]\nnotify = \"notify-send 'two words' $HOME;ls\"\n")
    assert configured_notify(tmp_path) == ["notify-send", "two words", "$HOME;ls"]
    for wrong in ("[1]", '"an \'open quote"'):
        file.write_text(f"[tool.kdharness]\nnotify = {wrong}\n")
        with pytest.raises(BadInput, match="notify"):
            configured_notify(tmp_path)
