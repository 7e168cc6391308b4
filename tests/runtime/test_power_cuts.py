"""What a power cut leaves at every moment of a job: each file that a committed row names is there, whole.

A disk may lose whatever was not synced, and may keep any of it. Two worlds are looked at after each operation: one
where nothing unsynced arrived, and one where every name did and no unsynced byte. The database syncs by itself.
"""

import hashlib
import os
import sqlite3
from pathlib import Path

import pytest
import torch
from test_publishing import claimed, finished
from tiny_study import ask, wanted

from kdharness.results.store import Store
from kdharness.runtime.runlog import run_logs
from kdharness.training import files
from kdharness.training.members import EpochEnd
from kdharness.training.weights import weights_sha256


class Disk:
    """Remembers what of the real files under `root` has been synced."""

    def __init__(self, root):
        self.root = root
        self.bytes = {}  # inode -> content when the file was last synced
        self.names = {root: self._listing(root)}  # directory -> what its names stood for when it was last synced
        self.cuts = 0

    @staticmethod
    def _listing(folder):
        return {entry.name: entry.inode() for entry in os.scandir(folder)}

    def sync(self, path):
        if path.is_dir():
            self.names[path] = self._listing(path)
        else:
            self.bytes[path.stat().st_ino] = path.read_bytes()

    def with_nothing_unsynced(self, path):
        """The content of the file after a cut in which nothing unsynced arrived; None where it has no name."""
        folder, inode = self.root, None
        for name in path.relative_to(self.root).parts:
            inode = self.names.get(folder, {}).get(name)
            folder = folder / name
            if inode is None:
                return None
        return self.bytes.get(inode, b"")

    def with_every_name(self, path):
        """The same where every name arrived, and no unsynced byte."""
        return self.bytes.get(path.stat().st_ino, b"") if path.exists() else None

    def cut(self):
        """Look at both worlds."""
        self.cuts += 1
        connection = sqlite3.connect(f"{(self.root / 'results.db').as_uri()}?mode=ro", uri=True)
        saved = connection.execute("SELECT path, sha256 FROM checkpoints").fetchall()
        complete = connection.execute("SELECT run_id, weights_sha256 FROM runs WHERE state = 'complete'").fetchall()
        connection.close()
        for world in (self.with_nothing_unsynced, self.with_every_name):
            for path, sha256 in saved:
                found = world(self.root / path)
                assert found is not None and hashlib.sha256(found).hexdigest() == sha256, (world.__name__, path)
            for run_id, sha256 in complete:
                found = world(self.root / "artifacts" / "runs" / run_id / "student.safetensors")
                assert found is not None and self.weights(found) == sha256, (world.__name__, run_id)

    @staticmethod
    def weights(content):
        from safetensors.torch import load

        return weights_sha256(load(content))


@pytest.fixture
def disk(home, store, monkeypatch):
    """Watches every operation on files, and every commit."""
    watched = Disk(home.root)

    def after(owner, name, note=lambda *_: None):
        original = getattr(owner, name)

        def told(*arguments, **more):
            answer = original(*arguments, **more)
            note(*arguments)
            watched.cut()
            return answer

        monkeypatch.setattr(owner, name, told)

    after(os, "fsync", lambda file: watched.sync(Path(f"/proc/self/fd/{file}").readlink()))
    for name in ("replace", "unlink", "mkdir"):
        after(Path, name)
    for name in ("commit_epoch", "complete", "claim"):
        after(Store, name)
    return watched


def train(home, store, run_id, epochs):
    """A job without training: checkpoints after each epoch, then the student."""
    job = claimed(home, store, run_id)
    with run_logs(home, {run_id: "attempt"}):
        pass
    for epoch in epochs:
        job.epoch_end(run_id, EpochEnd(epoch, 10 * epoch, {"train_loss": 1.0}, {"w": torch.full((9,), float(epoch))}))
        job.settle()
    return job


def test_after_a_power_cut_at_any_moment_what_was_committed_is_there(home, store, disk):
    run_id = ask(store, wanted(labels=("none",)))["none0"]
    train(home, store, run_id, (1, 2, 3)).release(run_id, reason="SIGTERM")
    train(home, store, run_id, (4, 5)).finished(run_id, finished(7))
    assert store.run(run_id).state == "complete" and disk.cuts > 40


@pytest.mark.parametrize("without", ["of the file", "of its directory", "of a new directory"])
def test_each_sync_is_needed(home, store, disk, monkeypatch, without):
    """The model of the disk sees it where one is left out."""
    fsync = os.fsync

    def lazy(file):
        path = Path(f"/proc/self/fd/{file}").readlink()
        kind = (
            "of the file" if not path.is_dir() else "of its directory" if path.name.isdigit() else "of a new directory"
        )
        if kind != without:
            fsync(file)

    monkeypatch.setattr(files.os, "fsync", lazy)
    run_id = ask(store, wanted(labels=("none",)))["none0"]
    with pytest.raises(AssertionError, match="with_"):
        train(home, store, run_id, (1,))
