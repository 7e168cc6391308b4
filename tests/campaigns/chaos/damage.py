"""Files that are not what was written: checkpoints and databases, cut and with flipped bits."""

import json
import random
import shutil
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "migrations"))
from forking import STUDY, finish, new_study
from outcome import Outcome
from test_killed_upgrades import killed_upgrades
from test_migrations import OLD, rows

from kdharness.core.errors import KdHarnessError
from kdharness.core.home import Home
from kdharness.results.backup import look_into
from kdharness.results.store import Store
from kdharness.results.upgrade import upgrade
from kdharness.training import checkpoint
from kdharness.training.checkpoint import DamagedCheckpoint


def checkpoints(root: Path, count: int) -> Outcome:
    """Half of them cut, half with a flipped bit; and each read with the hash of another one."""
    dice = random.Random(count)
    paths = [root / "a.pt", root / "b.pt"]
    hashes = [checkpoint.write(path, {"weights": torch.randn(1000), "epoch": at}) for at, path in enumerate(paths)]
    whole = paths[0].read_bytes()
    silent = 0
    for number in range(count):
        data = bytearray(whole)
        if number % 2:
            data = data[: dice.randrange(len(data))]
        else:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        paths[0].write_bytes(data)
        silent += _loads(paths[0], hashes[0])
    paths[0].write_bytes(whole)
    silent += _loads(paths[0], hashes[1]) + _loads(paths[1], hashes[0])
    return Outcome("damaged and exchanged checkpoints (39, 41)", count + 2, wrong=silent)


def _loads(path: Path, sha256: str) -> bool:
    try:
        checkpoint.read(path, sha256)
    except DamagedCheckpoint:
        return False
    return True


def databases(root: Path, count: int) -> Outcome:
    """A flipped bit in the database of a finished study: told in one paragraph, or every result as it was."""
    dice = random.Random(count)
    home, _ = new_study(root / "sound", seeds=2)
    finish(home)
    results, sound = home.results.read_bytes(), _read(home)
    told = changed = tracebacks = 0
    damaged = Home.at(root / "damaged")
    damaged.root.mkdir()
    for _ in range(count):
        shutil.rmtree(damaged.root)
        damaged.root.mkdir()
        data = bytearray(results)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        damaged.results.write_bytes(data)
        try:
            changed += _read(damaged) != sound
        except KdHarnessError:
            told += 1
        except Exception:  # noqa: BLE001  the very thing that is looked for
            tracebacks += 1
    note = f"{told} refused, {changed} with another value in a row"
    return Outcome("a flipped bit in the database (34)", count, wrong=tracebacks, note=note)


def upgrades(root: Path, stride: int) -> Outcome:
    """Killed at every `stride`-th statement of an upgrade of every old schema: nothing changed, and it goes on."""
    tries = lost = wrong = 0
    for old in OLD:
        before, place = rows(old), root / old.stem
        place.mkdir()
        for database in killed_upgrades(old, place, stride)[1]:
            tries += 1
            lost += rows(database) != before
            wrong += any(rows(one) != before for one in database.parent.glob("*.backup"))
            upgrade(database)
            wrong += look_into(database) != []
            shutil.rmtree(database.parent)
    return Outcome("an upgrade killed at a statement (22, 37)", tries, lost, wrong=wrong)


def _read(home: Home) -> str:
    store = Store(home)
    try:
        return json.dumps([*store.export(STUDY), store.columns(STUDY)], sort_keys=True, default=str)
    finally:
        store.close()
