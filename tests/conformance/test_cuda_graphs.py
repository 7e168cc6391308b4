"""On a GPU: graphs train what single operations train, and nothing waits within an epoch. Skipped without one."""

from collections.abc import Callable, Iterator

import pytest
import torch
from test_replayed_steps import Images, Told, member

from kdharness.core.records import Execution
from kdharness.training.cohort import train_cohort
from kdharness.training.course import Course
from kdharness.training.cuda_graphs import CudaGraphs
from kdharness.training.members import EpochEnd, Member

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
METHODS = ("kd", "dkd", "fitnet", "crd", "mlkd", "dml", "simkd", "ft")


@pytest.fixture
def deterministic() -> Iterator[None]:
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


def trained(members: list[Member], *, graphs: bool) -> Told:
    told = Told()
    train_cohort(members, Images(), Execution(device="cuda:0", graphs=graphs), told)
    return told


@pytest.mark.parametrize("names", [METHODS[:1], METHODS[:4], METHODS[4:]], ids="+".join)
def test_bitwise_where_algorithms_are_fixed(names: tuple[str, ...], deterministic: None) -> None:
    members = [member(name, seed=seed, run_id=f"{name} {seed}") for seed in range(2) for name in names]
    graphs, single = trained(members, graphs=True), trained(members, graphs=False)
    assert graphs.hashes == single.hashes
    assert graphs.metrics == single.metrics


@pytest.mark.parametrize("name", METHODS)
def test_close_where_they_are_not(name: str) -> None:
    graphs, single = (trained([member(name)], graphs=graphs) for graphs in (True, False))
    for one, other in zip(graphs.metrics[name], single.metrics[name], strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-2)


def test_neighbours_change_nothing_in_a_graph(deterministic: None) -> None:
    draws = member("crd")
    together = trained([member("kd"), draws, member("crd", "another seed", seed=1)], graphs=True)
    assert together.hashes["crd"] == trained([draws], graphs=True).hashes["crd"]


def test_nothing_waits_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the third epoch on, when everything is recorded: only an epoch's end may wait."""
    seen: list[tuple[int, ...]] = []

    def strict(name: str, original: Callable[..., object]) -> Callable[..., object]:
        def called(course: Course, *args: object) -> object:
            if course.cursor.epoch >= 3:
                torch.cuda.set_sync_debug_mode("default" if name == "passed" and course.ends_epoch else "error")
                seen.append((course.cursor.epoch, course.cursor.step))
            try:
                return original(course, *args)
            finally:
                if name == "passed":
                    torch.cuda.set_sync_debug_mode("default")

        return called

    for name in ("fed", "prepare", "passed"):
        monkeypatch.setattr(Course, name, strict(name, getattr(Course, name)))
    told = trained([member("kd"), member("dkd")], graphs=True)
    assert told.hashes.keys() == {"kd", "dkd"}
    assert seen


def test_replays_cover_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    record = CudaGraphs.record

    def noted(self: CudaGraphs, branches: list[Callable[[], None]]) -> Callable[[list[int]], None]:
        replay = record(self, branches)

        def again(seeds: list[int]) -> None:
            counted.append(len(seeds))
            replay(seeds)

        return again

    monkeypatch.setattr(CudaGraphs, "record", noted)
    ends: list[EpochEnd] = []
    told = Told()
    monkeypatch.setattr(told, "epoch_end", lambda run_id, end: ends.append(end))
    train_cohort([member("kd"), member("dkd")], Images(), Execution(device="cuda:0"), told)
    assert counted == [2] * 4  # 6 steps each, 2 of them first
    assert all(end.metrics["train_seconds"] > 0 for end in ends)
