"""Processes that fill one table at once and are killed while they do: what is read is what the teacher says."""

import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
from tiny_study import ask, wanted

from kdharness.core.errors import ExitCode
from kdharness.core.records import Execution, Teacher
from kdharness.core.types import Needs
from kdharness.datasets.digits import Digits
from kdharness.runtime.job import run_job
from kdharness.training.data import Data, Point
from kdharness.training.frozen import frozen_forward
from kdharness.training.sharing import Teachers
from kdharness.training.table_shelf import TableShelf

FILLER = """
import sys
from test_table_kills import POINT, teacher_at
_, tabled, _ = teacher_at(sys.argv[1])
for done, every in tabled.fill(POINT, tiles=1):
    print(done, every, flush=True)
"""
POINT = Point(0.0, "shift1", "fp32", 64, 0, 1, 0)
ENTRIES = 9 * Digits.train_size


def teacher_at(tables):
    torch.set_num_threads(1)
    data = Data(Digits(Path()), Execution(tables=Path(tables)))
    teachers = Teachers(data)
    network = teachers.get((Teacher(model="resnet8", revision=1),), [], "fp32")
    return network, teachers.tabled(network, Needs(), None), data


def start_filler(tables):
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{FILLER}"
    return subprocess.Popen([sys.executable, "-c", script, str(tables)], stdout=subprocess.PIPE, text=True)


def test_two_fill_one_is_killed_and_every_row_is_the_teachers(tmp_path):
    with ExitStack() as ends:
        killed, other = (ends.enter_context(start_filler(tmp_path)) for _ in range(2))
        ends.callback(other.kill)
        ends.callback(killed.kill)
        assert killed.stdout.readline().endswith(f" {ENTRIES}\n")
        time.sleep(random.uniform(0, 0.3))
        killed.kill()
        assert other.communicate(timeout=120)[0].splitlines()[-1].endswith(f" {ENTRIES}")
    assert [killed.returncode, other.returncode] == [-signal.SIGKILL, 0]

    network, tabled, data = teacher_at(tmp_path)
    assert list(tabled.fill(POINT)) in ([(ENTRIES, ENTRIES)], [(ENTRIES, ENTRIES)] * 2)
    for epoch in range(1, 10):
        for position in (0, 11, 22):  # the last is short
            point = replace(POINT, epoch=epoch, position=position)
            live = frozen_forward(network, data.images(point), "fp32").logits
            assert torch.equal(tabled.answer(point).logits, live)


def test_a_job_ends_with_the_same_weights_without_a_table(home, store, monkeypatch, undisturbed):
    ids = ask(store, wanted(labels=("kd",), seeds=2))
    monkeypatch.setenv("KDHARNESS_TABLES_GB", "0")
    for name in ("teacher0", "kd0"):
        assert run_job(home, [ids[name]], slot="cpu:0") == ExitCode.DONE
    assert store.run(ids["kd0"]).weights_sha256 == undisturbed["kd0"]
    assert TableShelf(home.tables).tables() == []
    monkeypatch.delenv("KDHARNESS_TABLES_GB")
    assert run_job(home, [ids["kd1"]], slot="cpu:0") == ExitCode.DONE
    assert [table.card["models"] for table in TableShelf(home.tables).tables()] == [["resnet14 1"]]
