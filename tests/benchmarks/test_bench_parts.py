"""Parts of the benchmarks, cut small: that they do what they time, not how long it takes."""

import json
import os
from types import SimpleNamespace

import pytest
from side_work import die, tell_environment, tunables

from kdharness.benchmarks import data, gpu, overhead, precision, step, store
from kdharness.benchmarks.cohorts import Rounds
from kdharness.benchmarks.measuring import CPU, Figure
from kdharness.benchmarks.report import Bar, Report
from kdharness.benchmarks.sides import Side, harness_environment, in_a_job, plain_environment, take_turns
from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.home import Home
from kdharness.core.records import Execution
from kdharness.results.store import Store
from kdharness.runtime.executors import KEEP_FREED_MEMORY
from kdharness.training import compiling


def test_each_side_has_the_environment_that_it_has_in_life(tmp_path, monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    sides = {"ours": harness_environment("cpu", 1), "plain": plain_environment(2)}
    with (
        Side(tell_environment, tmp_path / "ours", device="cpu", environment=sides["ours"]) as ours,
        Side(tell_environment, tmp_path / "plain", device="cpu", environment=sides["plain"]) as plain,
    ):
        taken = take_turns([ours, plain], 2, warming=1)
    assert [len(readings) for readings in taken] == [2, 2]
    assert "GLIBC_TUNABLES" not in os.environ
    said = {name: [json.loads(line) for line in (tmp_path / name).read_text().splitlines()] for name in sides}
    assert said == {"ours": 3 * [[KEEP_FREED_MEMORY, "1"]], "plain": 3 * [[None, "2"]]}


def test_a_side_that_dies_is_told(tmp_path):
    with (
        Side(die, device="cpu", environment=plain_environment(1)) as side,
        pytest.raises(EnvironmentRefused, match="exit code 7"),
    ):
        side.round()


def test_work_in_a_job_has_a_jobs_environment(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert in_a_job(tunables) == (KEEP_FREED_MEMORY, "1")


def test_a_round_is_so_many_steps_of_all_members():
    turns = SimpleNamespace(count=0)
    turns.next_round = lambda: (setattr(turns, "count", turns.count + 1), True)[1]
    rounds = Rounds(turns, members=3, rounds=2, steps=2)
    assert [rounds.stop_requested() for _ in range(12)] == [False] * 11 + [True]
    assert turns.count == 2


def test_what_a_profiler_saw_is_counted_by_kind():
    seen = {"cudaLaunchKernel": 100, "cudaGraphLaunch": 10, "aten::add": 7, "Memcpy DtoH (Device -> Pinned)": 20,
            "cudaStreamSynchronize": 5, "Memcpy HtoD (Pageable -> Device)": 3}  # fmt: skip
    events = [SimpleNamespace(key=key, count=count) for key, count in seen.items()]
    counted = gpu.counts(events, steps=10)
    assert counted == {"launches": 10, "graph launches": 1, "waits of the host": 0.5, "copies to the host": 2}
    assert "0.50 waits of the host" in gpu.said("pair", counted)


def figures(warm, fast):
    return [
        Figure(f"{step.FASTER}: {CPU}", pair, column, "x", (ratio,))
        for column, ratios in (("warm", warm), ("bf16 warm", fast))
        for pair, ratio in zip(step.PAIRS, ratios, strict=False)
    ]


def test_the_bars_are_read_off_the_figures():
    bars = step._bars(figures([2, 8, 2, 8, 2, 8], [8, 4, 2, 4, 8, 8]), CPU)
    found = [(bar.id, bar.value, bar.met) for bar in bars]
    assert found[:3] == [("C2", 2, False), ("C3", 8, True), ("C4", 8, False)]
    assert [value for _, value, _ in found[3:]] == pytest.approx([4.0, (8**5 * 2) ** (1 / 6)])


def test_without_all_six_pairs_there_is_no_mean():
    assert [bar.id for bar in step._bars(figures([2], [8]), CPU)] == ["C2", "C3"]


@pytest.mark.parametrize("pair", ["resnet8", "a -> b -> c"])
def test_what_is_no_pair_is_refused(pair):
    with pytest.raises(BadInput, match="no pair"):
        step.run([pair])


def test_a_pair_may_be_written_as_in_papers():
    assert step._known("ResNet50->MobileNetV2") == step.PAIRS[3]


def test_a_missing_compiler_is_a_reason(monkeypatch):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    assert "C++" in compiling.without_compiler("cpu")
    monkeypatch.setattr(compiling.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert compiling.without_compiler("cpu") == ""


def test_the_overhead_is_a_difference_and_checkpoints_are_a_jobs_own(tmp_path, monkeypatch):
    for name, value in (("WIDE", overhead.NARROW), ("TRAIN_SIZE", 640), ("SHORT_STEPS", 1), ("BATCHES", 2)):
        monkeypatch.setattr(overhead, name, value)
    found, bars = overhead.overhead(tmp_path, 2, 1)
    rows = {figure.row: figure for figure in found if figure.table.endswith(CPU)}
    ours, bare = rows["ResNet8, step in the harness"].values, rows["ResNet8, bare step"].values
    assert rows["the harness's own part (H1)"].values == pytest.approx([a - b for a, b in zip(ours, bare, strict=True)])
    assert [bar.id for bar in bars] == ["H1", "H2"]
    store = Store(Home(tmp_path / "home"))
    (row,) = store.queue("bench")
    assert row.epoch == 3  # two that count and the one before
    assert len(store.checkpoints(row.run_id)) == 2
    store.close()


def test_the_stores_benchmark_claims_and_finishes_every_run(tmp_path):
    found, rate = store._claims(tmp_path, 1, 2)
    opened = Store(Home(tmp_path))
    assert {row.state for row in opened.queue("bench")} == {"complete"}
    opened.close()
    assert rate > 0
    assert len({figure.row for figure in found}) == 3


def test_processes_write_at_their_pace(tmp_path, monkeypatch):
    for name, value in (("PROCESSES", 2), ("STARTING_SECONDS", 0.1)):
        monkeypatch.setattr(store, name, value)
    found, late = store._writers(Home(tmp_path), 1.0)
    assert len(found[0].values) == 2 * store.WRITES_PER_SECOND
    assert late > 0


def test_a_large_study_is_planned_and_inserted(tmp_path):
    store._planned(Home(tmp_path), 2)
    opened = Store(Home(tmp_path))
    assert len(opened.queue("bench")) == 201
    opened.close()


MACHINE = {"device": "cpu", "cores": 2, "threads": 1, "versions": {}, "commit": None, "started": "now", "load": [0, 0],
           "seconds": 0}  # fmt: skip


@pytest.fixture
def canned(monkeypatch):
    found = Report("data", "About.", MACHINE, [Figure(CPU, "row", "column", "ms", (2.0,))], [Bar("D2", "x", 1, "x", 2)])
    asked = []
    monkeypatch.setattr(data, "run", lambda **options: (asked.append(options), found)[1])
    return asked


def run(*arguments):
    from typer.testing import CliRunner

    from kdharness.cli.app import app

    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_the_command_prints_keeps_and_compares(tmp_path, canned):
    file = tmp_path / "a.json"
    first = run("data", "--quick", "--device", "cpu", "--save", file)
    assert first.exit_code == 0
    assert "| D2 |" in first.stdout
    assert canned[0]["quick"]
    assert canned[0]["device"] == "cpu"
    assert json.loads(run("data", "--json").stdout) == json.loads(file.read_text())
    assert "### against now" in run("data", "--compare", file).stdout


def test_what_is_wrong_with_files_is_told_before_the_minutes_begin(tmp_path, canned):
    for arguments in (
        ("--compare", tmp_path / "none.json"),
        ("--save", tmp_path / "no" / "a.json"),
        ("--device", "cuda:9"),
    ):
        assert isinstance(run("data", *arguments).exception, BadInput)
    assert not canned


def test_a_compiler_that_fails_leaves_the_eager_figures(monkeypatch):
    real = precision._side

    def side(*arguments, compiled=False):
        if not compiled:
            return real(*arguments)
        return lambda: 1 / 0

    monkeypatch.setattr(precision, "_side", side)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    found, why = precision.measured("resnet8", "step", Execution(), 1, True)
    assert "ZeroDivisionError" in why
    assert {figure.column for figure in found} == {"fp32", "bf16", "bf16, ratio"}
