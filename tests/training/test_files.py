"""Checkpoints and weights on disk: whole or not at all, and never silently other than what was written."""

import errno
import hashlib
import io
import os
from pathlib import Path

import pytest
import torch

from kdharness.core.errors import EnvironmentRefused
from kdharness.training import checkpoint
from kdharness.training.checkpoint import DamagedCheckpoint
from kdharness.training.weights import load_weights, save_weights, weights_sha256

STATE = {"weights": {"a": torch.arange(100.0)}, "cursor": [0, 1, 2], "name": None}


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "c.pt"
    sha256 = checkpoint.write(path, STATE)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    back = checkpoint.read(path, sha256)
    assert torch.equal(back["weights"]["a"], STATE["weights"]["a"])  # type: ignore[index]
    assert back["cursor"] == [0, 1, 2]
    assert [file.name for file in path.parent.iterdir()] == ["c.pt"]


def test_a_new_checkpoint_replaces_the_file_and_does_not_write_into_it(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    checkpoint.write(path, STATE)
    before = path.read_bytes()
    with path.open("rb") as reader:
        checkpoint.write(path, {"other": torch.zeros(3)})
        assert reader.read() == before


def test_no_damage_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    sha256 = checkpoint.write(path, STATE)
    good = path.read_bytes()
    for place in range(0, len(good), 97):
        path.write_bytes(good[:place])
        with pytest.raises(DamagedCheckpoint):
            checkpoint.read(path, sha256)
        path.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        with pytest.raises(DamagedCheckpoint, match="not the one that was written"):
            checkpoint.read(path, sha256)
    path.unlink()
    with pytest.raises(DamagedCheckpoint, match="cannot be read"):
        checkpoint.read(path, sha256)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> object:
            return os.mkdir, (str(tmp_path / "canary"),)

    buffer = io.BytesIO()
    torch.save({"x": Evil()}, buffer)
    (tmp_path / "c.pt").write_bytes(buffer.getvalue())
    with pytest.raises(DamagedCheckpoint, match="more than tensors"):
        checkpoint.read(tmp_path / "c.pt", hashlib.sha256(buffer.getvalue()).hexdigest())
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(("code", "message"), [(errno.ENOSPC, "the disk is full"), (errno.EIO, "cannot be written")])
def test_a_disk_that_refuses_leaves_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str
) -> None:
    path = tmp_path / "c.pt"
    sha256 = checkpoint.write(path, STATE)

    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(EnvironmentRefused, match=message):
        checkpoint.write(path, {"other": torch.zeros(3)})
    assert checkpoint.read(path, sha256)["cursor"] == [0, 1, 2]
    assert [file.name for file in tmp_path.iterdir()] == ["c.pt"]


def test_a_file_is_safe_before_its_name_and_its_name_before_anyone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut a name must not stand for bytes that never reached the disk."""
    steps: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def told_fsync(file: int) -> None:
        steps.append(("fsync", Path(f"/proc/self/fd/{file}").readlink().name))
        fsync(file)

    def told_replace(self: Path, target: Path) -> Path:
        steps.append((self.name, target.name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", told_fsync)
    monkeypatch.setattr(Path, "replace", told_replace)
    checkpoint.write(tmp_path / "c.pt", STATE)
    beside = f".c.pt.{os.getpid()}.tmp"
    assert steps == [("fsync", beside), (beside, "c.pt"), ("fsync", tmp_path.name)]


def test_weights_hash_sees_content_and_not_storage() -> None:
    weights = {"b": torch.randn(2, 3, 4, 4), "a": torch.tensor(3), "c": torch.randn(5).bfloat16()}
    turned = {key: weights[key] for key in ("c", "a", "b")}
    turned["b"] = turned["b"].to(memory_format=torch.channels_last)
    assert weights_sha256(weights) == weights_sha256(turned)
    changes = {"b": weights["b"].view(2, 3, 16), "a": weights["a"].int(), "c": weights["c"].float()}
    for key, value in changes.items():
        assert weights_sha256(weights | {key: value}) != weights_sha256(weights), key
    renamed = {{"a": "d"}.get(key, key): value for key, value in weights.items()}
    assert weights_sha256(renamed) != weights_sha256(weights)
    assert weights_sha256({}) == hashlib.sha256().hexdigest()


def test_weights_come_back(tmp_path: Path) -> None:
    weights = {"w": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last), "n": torch.tensor(7)}
    save_weights(tmp_path / "w.safetensors", weights)
    assert weights_sha256(load_weights(tmp_path / "w.safetensors")) == weights_sha256(weights)
    (tmp_path / "w.safetensors").write_bytes(b"no")
    with pytest.raises(EnvironmentRefused, match="cannot be read"):
        load_weights(tmp_path / "w.safetensors")
    with pytest.raises(EnvironmentRefused, match="cannot be read"):
        load_weights(tmp_path / "missing.safetensors")
