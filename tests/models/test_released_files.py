"""Foreign model files: good ones of every kind are read, hostile and broken ones refused without running anything."""

import argparse
import io
import json
import os
import resource
import signal
import socket
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hostile_files import CASES, weights

from kdharness.core.errors import BadInput, EnvironmentRefused, ExitCode
from kdharness.models.released import child
from kdharness.models.released.reading import read_released

ALARM = 99
"""The exit code of a child that tried to do more than read."""
FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.spawn",
    "subprocess",
    "socket",
    "shutil",
    "ctypes",
)


SAID = {
    "_in_zip": "executable code",
    "_in_legacy": "executable code",
    "_bare": "executable code",
    "a_whole_module": "executable code (torch.nn.modules.linear.Linear)",
    "torchscript": "TorchScript",
    "a_scripted": "TorchScript",
    "lazily": "lazily negated or conjugated tensor: bias",
    "stride_0_": "repeats its own memory",
    "overlapping_windows": "repeats its own memory",
    "two_keys_one_memory": "share memory: a and b",
    "a_thousand_keys": "claims at least",
    "sparse_weights": "torch.sparse_coo",
    "sparse_out": "inconsistent with indices",
    "meta": "meta",
    "complex": "kind complex64",
    "float8": "kind float8",
    "nan": "not finite",
    "infinity": "not finite",
    "a_tensor_with": "holds Tensor under bias",
    "numbers_for": "holds list under fc.weight",
    "a_storage_longer": "record size",
    "a_list": "holds list",
    "a_counter": "holds Counter",
    "no_weights": "its entries: epoch, net",
    "a_hundred_thousand": "100,001 keys",
    "keys_": "a key that no network has",
    "a_key_": "a key that no network has: kkk",
    "the_key_": "a key that no network has: __metadata__",
    "a_zip_bomb": "compressed zip",
    "names_that_climb": "a record named t",
    "absolute_names": "a record named /t",
    "a_record_twice": "twice",
    "a_size_that": "more bytes in its zip records",
    "another_program": "not one of PyTorch",
    "a_zip_cut": "is damaged",
    "a_bit_flipped": "checksum",
    "a_pickle_of_32": "a pickle of",
    "empty": "is empty",
    "a_web_page": "web page",
    "a_git_lfs": "Git LFS",
    "a_tar": "tar archive",
    "noise": "neither",
    "another_pickle": "executable code (posix.system)",
    "a_protocol_1": "neither",
}
"""How a case's name begins or ends -> what its refusal says: the check that was meant found it."""


@pytest.fixture(scope="module", autouse=True)
def warm():
    child._warm_up()


def in_child(path: Path, folder: Path) -> tuple[int, dict[str, str], Path]:
    """What the limited child makes of the file, without the second that a new interpreter takes: exit code, refusal.

    An audit hook ends it at once where anything starts a program, opens a connection or a file, or imports a module.
    """
    out, said = folder / "out", folder / "said"
    pid = os.fork()
    if pid == 0:
        try:
            for number, opened in enumerate((path.open("rb"), out.open("wb"), said.open("wb"))):
                os.dup2(opened.fileno(), number)
            warnings.simplefilter("ignore")  # the real one is started with -W ignore
            child.limit(path.stat().st_size)
            sys.addaudithook(alarm)
            os._exit(child.main())
        finally:
            os._exit(98)
    _, status = os.waitpid(pid, 0)
    text = said.read_text().strip()
    return os.waitstatus_to_exitcode(status), json.loads(text) if text else {}, out


def alarm(event: str, arguments: tuple[object, ...]) -> None:
    opens = event == "open" and not isinstance(arguments[0], int)
    if event.startswith(FORBIDDEN) or opens or (event == "import" and arguments[0] not in sys.modules):
        os.write(2, json.dumps({"what": f"{event} {arguments}"}).encode())
        os._exit(ALARM)


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_or_broken_file_is_refused(name, tmp_path):
    path, canary = tmp_path / "teacher.pth", tmp_path / "canary"
    canary.with_suffix(".py").write_text(f"open({str(canary)!r}, 'w')")
    CASES[name](path, canary)
    code, refusal, out = in_child(path, tmp_path)
    assert code == ExitCode.BAD_INPUT, refusal
    assert refusal["what"].isprintable() and len(refusal["what"]) < 300
    assert not canary.exists() and out.stat().st_size == 0
    expected = [said for part, said in SAID.items() if name.startswith(part) or name.endswith(part)]
    assert all(said in refusal["what"] for said in expected), refusal["what"]


def test_there_are_enough_of_them():
    assert len(CASES) >= 80


@pytest.mark.parametrize("how", ["in_zip", "in_legacy", "bare"])
def test_the_refusal_names_the_code(how, tmp_path):
    path = tmp_path / "teacher.pth"
    CASES[f"os_system_{how}"](path, tmp_path / "canary")
    _, refusal, _ = in_child(path, tmp_path)
    assert "executable code (posix.system)" in refusal["what"] and "state_dict" in refusal["remedy"]


def test_the_canary_would_sing(tmp_path):
    """The corpus is not harmless by mistake."""
    path, canary = tmp_path / "teacher.pth", tmp_path / "canary"
    CASES["os_system_in_zip"](path, canary)
    torch.load(path, weights_only=False)
    assert canary.exists()


def test_the_alarm_would_ring(tmp_path, monkeypatch):
    (tmp_path / "teacher.pth").touch()
    monkeypatch.setattr(child, "main", lambda: os.system("true"))
    assert in_child(tmp_path / "teacher.pth", tmp_path)[0] == ALARM


def test_no_cut_and_no_flipped_bit_changes_a_weight():
    buffer = io.BytesIO()
    torch.save({"model": weights()}, buffer)
    whole = buffer.getvalue()
    rng = np.random.default_rng(0)
    loaded = 0
    for number in range(300):
        data = bytearray(whole)
        if number < 100:
            del data[int(rng.integers(len(data))) :]
        else:
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        try:
            found, _ = child.read(io.BytesIO(data), len(data))
        except child.Refused:
            continue
        loaded += 1
        assert {key: value.tolist() for key, value in found.items()} == {
            key: value.tolist() for key, value in weights().items()
        }
    assert loaded < 150, "flips in padding and in what nobody reads are harmless"


@pytest.mark.parametrize("wrapper", ["", "model", "state_dict", "model_state"])
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_every_kind_of_checkpoint_is_read(wrapper, form, tmp_path):
    content = weights(steps=torch.tensor(7), half=torch.ones(2).half(), slice=torch.arange(12.0).reshape(3, 4)[:, :2])
    content["fc.weight"] = torch.nn.Parameter(content["fc.weight"].T)
    beside = {
        "epoch": 240,
        "accuracy": torch.tensor(79.5),
        "best_acc": np.float64(3),
        "opt": argparse.Namespace(lr=0.05, path=Path("a"), steps=[1, 2], raw=b"\xff"),
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
    }
    path = tmp_path / "resnet8_last.pth"
    torch.save({wrapper: content, **beside} if wrapper else content, path, _use_new_zipfile_serialization=form == "zip")
    code, refusal, out = in_child(path, tmp_path)
    assert code == 0, refusal
    found = safetensors.torch.load_file(out)
    assert found.keys() == content.keys()
    assert all(torch.equal(found[key], content[key]) and found[key].dtype == content[key].dtype for key in content)
    with safetensors.safe_open(out, framework="pt") as file:
        known = json.loads(file.metadata()["kdharness"])
    figures = {"epoch": 240, "accuracy": 79.5} if wrapper else {}
    assert known == {"format": f"torch {form}", "entry": wrapper, "figures": figures}


def test_the_real_child_reads_and_refuses(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    (tmp_path / "torch.py").write_text("raise SystemExit('imported from the working directory')")
    monkeypatch.chdir(tmp_path)
    good, link, bad = (tmp_path / name for name in ("good.safetensors", "link", "bad.pth"))
    safetensors.torch.save_file(weights(), good)
    link.symlink_to(good)
    found = read_released(link)
    assert found.format == "safetensors" and (found.bytes, len(found.sha256)) == (good.stat().st_size, 64)
    assert torch.equal(found.weights["fc.weight"], weights()["fc.weight"])
    CASES["os_system_in_zip"](bad, tmp_path / "canary")
    with pytest.raises(BadInput, match=r"bad\.pth: holds executable code \(posix\.system\)"):
        read_released(bad)
    assert not (tmp_path / "canary").exists()


def test_what_takes_memory_or_dies_is_refused(tmp_path, monkeypatch):
    """The last line of defence: the process that reads is killed by its limits, not the one that asks."""
    path = tmp_path / "a.pth"
    torch.save(weights(), path)
    monkeypatch.setattr(child, "read", lambda *_: torch.ones(2**31))
    code, refusal, _ = in_child(path, tmp_path)
    assert code == 2 and refusal
    script = tmp_path / "child.py"
    monkeypatch.setattr("kdharness.models.released.reading._CHILD", script)
    script.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(BadInput, match="SIGSEGV"):
        read_released(path)
    script.write_text("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)")
    with pytest.raises(BadInput, match="more time"):
        read_released(path)


def test_what_is_the_machine_s_fault_is_no_fault_of_the_file(tmp_path, monkeypatch):
    path, script = tmp_path / "a.pth", tmp_path / "child.py"
    torch.save(weights(), path)
    monkeypatch.setattr("kdharness.models.released.reading._CHILD", script)
    script.write_text(
        """import sys; print('{"what": "No space left on device", "remedy": ""}', file=sys.stderr); sys.exit(3)"""
    )
    with pytest.raises(EnvironmentRefused, match=r"no room for the weights: No space left"):
        read_released(path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(EnvironmentRefused, match="temporary file") as refused:
        read_released(path)
    assert "TMPDIR" in refused.value.remedy


def test_a_full_disk_is_no_refusal_and_limits_are_lowered_only(tmp_path, monkeypatch):
    path, limit = tmp_path / "a.pth", child.limit
    torch.save(weights(), path)

    def with_less(size: int) -> None:
        for what in (resource.RLIMIT_CPU, resource.RLIMIT_FSIZE):
            resource.setrlimit(what, (500, 500))
        limit(size)

    monkeypatch.setattr(child, "limit", with_less)
    code, said, _ = in_child(path, tmp_path)
    assert (code, said) == (3, {"what": "File too large", "remedy": ""})
    monkeypatch.setattr(resource, "RLIMIT_FSIZE", resource.RLIMIT_CORE)
    assert in_child(path, tmp_path)[0] == 0


def test_a_killed_reader_leaves_nothing(tmp_path, monkeypatch):
    path, folder = tmp_path / "a.pth", tmp_path / "tmp"
    torch.save(weights(), path)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr("kdharness.models.released.reading._convert", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    pid = os.fork()
    if pid == 0:
        read_released(path)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert list(folder.iterdir()) == []


def made(kind: str, path: Path) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "5 GiB":
        with path.open("wb") as file:
            file.truncate(5 * 2**30)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["fifo", "folder", "socket", "device", "loop", "5 GiB", "missing"])
def test_only_regular_files_of_a_model_s_size_are_opened(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("kdharness.models.released.reading._convert", lambda *_: pytest.fail("went on to read it"))
    made(kind, tmp_path / "a")
    with pytest.raises(BadInput, match="a: "):
        read_released(tmp_path / "a")
    with pytest.raises(BadInput, match="cannot be opened"):
        read_released(Path("a\0b"))
