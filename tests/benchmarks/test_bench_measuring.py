import time

import pytest

from kdharness.benchmarks.measuring import CPU, DEVICE, WALL, Clock, Figure, Reading, alternate, ratios, times


def test_a_clock_tells_computing_from_waiting():
    clock = Clock()
    slept = clock.time(lambda: time.sleep(0.05))
    assert slept.wall >= 0.05 > 4 * slept.cpu
    assert slept.device is None
    assert list(slept.by_clock) == [CPU, WALL]


def test_on_a_gpu_its_own_time_comes_first():
    assert list((Reading(5, 7, 3.0) - Reading(1, 2, 0.5)).by_clock.items()) == [(DEVICE, 2.5), (CPU, 4), (WALL, 5)]


def test_a_figure_is_a_median_with_its_quartiles():
    figure = Figure(CPU, "row", "column", "ms", (5.0, 1.0, 2.0, 4.0, 3.0))
    assert (figure.median, figure.quartiles) == (3.0, (2.0, 4.0))


def test_sides_take_turns_and_the_first_round_does_not_count():
    done: list[str] = []
    found = alternate({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, 2, Clock())
    assert done == ["a", "b"] * 3
    assert [len(found[name]) for name in "ab"] == [2, 2]


def test_ratios_are_taken_round_by_round():
    slow, fast = [Reading(4, 10), Reading(9, 10)], [Reading(2, 5), Reading(3, 1)]
    cpu, wall = ratios("row", "column", slow, fast, times=8)
    assert (cpu.table, cpu.unit, cpu.values) == (CPU, "x", (16.0, 24.0))
    assert (wall.table, wall.values) == (WALL, (16.0, 80.0))


@pytest.mark.parametrize(("unit", "value"), [("s", 0.5), ("ms", 500.0), ("us", 500_000.0)])
def test_times_are_scaled(unit, value):
    cpu, wall = times("row", "column", [Reading(0.25, 1.0)], times=2, unit=unit, part="part")
    assert (cpu.table, cpu.values, wall.table) == (f"part: {CPU}", (value,), f"part: {WALL}")
