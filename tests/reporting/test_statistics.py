"""Worked examples, by hand where they can be and by scipy.stats where not."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdharness.core.records import TableSpec
from kdharness.reporting import statistics
from kdharness.reporting.render import FORMATS, render
from kdharness.reporting.tables import build_table

from .frames import quickstart


@pytest.fixture
def without_scipy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    cached = (statistics._special, statistics.critical_t, statistics.optimism)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def test_mean_and_sample_std() -> None:
    assert statistics.mean([]) is None and statistics.std([5.0]) is None
    assert statistics.mean([1.0, 2.0, 6.0]) == 3.0
    assert statistics.std([1.0, 2.0, 6.0]) == pytest.approx(7.0**0.5)  # (4 + 1 + 9) / 2
    assert statistics.mean([0.1, 0.2, 0.3]) == statistics.mean([0.3, 0.1, 0.2])


def test_interval_of_student() -> None:
    # t(0.975, 2) = 4.302653 (printed tables); s = 1, so half = 4.302653 / sqrt(3)
    assert statistics.interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)
    assert statistics.interval([1.0]) is None


def test_welch_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    one, two = [71.2, 71.5, 70.9, 71.1], [71.9, 72.4, 71.7]
    assert statistics.welch(one, two) == pytest.approx(
        float(stats.ttest_ind(one, two, equal_var=False).pvalue), rel=1e-9
    )
    assert statistics.welch([1.0], two) is None
    assert statistics.welch([1.0, 1.0], [2.0, 2.0]) is None


def test_welch_where_one_side_does_not_vary() -> None:
    # t = -1 / sqrt(0.5 / 2) = -2 with one degree of freedom: p = 1 - 2 atan(2) / pi
    assert statistics.welch([1.0, 1.0], [1.5, 2.5]) == pytest.approx(0.2951672, abs=1e-6)


def test_what_stands_behind_plus_minus() -> None:
    # s = 1 of 1, 2, 3: standard error 1 / sqrt(3), t(0.975, 2) = 4.302653
    assert statistics.half_width([1.0, 2.0, 3.0], "std") == 1.0
    assert statistics.half_width([1.0, 2.0, 3.0], "sem") == pytest.approx(3**-0.5)
    assert statistics.half_width([1.0, 2.0, 3.0], "ci") == pytest.approx(4.302653 / 3**0.5, abs=1e-5)
    assert statistics.half_width([1.0], "ci") is None


def test_paired_t_is_scipy_s() -> None:
    stats = pytest.importorskip("scipy.stats")
    one, two = [71.2, 71.5, 70.9, 71.1], [71.6, 71.8, 71.5, 71.3]
    assert statistics.paired(one, two) == pytest.approx(float(stats.ttest_rel(one, two).pvalue), rel=1e-9)
    # differences -1, -2, -3: t = -2 / (1 / sqrt 3) with two degrees of freedom: p = 2 * stdtr(2, -3.4641) = 0.0741799
    assert statistics.paired([1.0, 1.0, 1.0], [2.0, 3.0, 4.0]) == pytest.approx(0.0741799, abs=1e-6)
    assert statistics.paired([1.0], [2.0]) is None and statistics.paired([1.0, 2.0], [2.0, 3.0]) is None


def test_hedges_g() -> None:
    # means 2 and 4, pooled s = 1, d = -2; J = 1 - 3 / (4 * 4 - 1) = 0.8 by his approximation, 0.79788 exactly
    assert statistics.hedges_g([1.0, 2.0, 3.0], [3.0, 4.0, 5.0]) == pytest.approx(-2 * 0.797885, abs=1e-5)
    assert statistics.hedges_g([1.0, 1.0], [2.0, 2.0]) is None and statistics.hedges_g([1.0], [2.0, 3.0]) is None


def test_benjamini_hochberg() -> None:
    stats = pytest.importorskip("scipy.stats")
    # the 15 p-values of Benjamini and Hochberg 1995, section 4.1: at 0.05 the four smallest are called
    p_values = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590,
        1.0,
    ]  # fmt: skip
    adjusted = statistics.benjamini_hochberg(p_values[::-1])[::-1]
    assert [q <= 0.05 for q in adjusted] == [True] * 4 + [False] * 11
    assert adjusted == pytest.approx(list(stats.false_discovery_control(p_values)))
    assert statistics.benjamini_hochberg([]) == []


def test_friedman_and_nemenyi() -> None:
    pytest.importorskip("scipy.stats")
    # three entries ranked alike at four places: chi2 = 12 / (4 * 3 * 4) * (16 + 64 + 144) - 3 * 4 * 4 = 8, df 2
    assert statistics.friedman([[1.0, 2.0, 3.0]] * 4) == pytest.approx(0.0183156, abs=1e-6)  # exp(-8 / 2)
    assert statistics.friedman([[1.0, 2.0]] * 4) is None and statistics.friedman([[2.0, 2.0, 2.0]] * 3) is None
    # Demsar 2006, section 3.2.4: four entries, 14 data sets, q = 2.569, critical difference 1.25
    assert statistics.nemenyi(4, 14) == pytest.approx(1.2536, abs=1e-3)


def test_friedman_and_nemenyi_are_those_of_scipy() -> None:
    stats, draw = pytest.importorskip("scipy.stats"), random.Random(7)
    for places, entries, values in ((2, 3, 9), (9, 4, 3), (20, 9, 2), (5, 30, 99)):
        ranks = [list(stats.rankdata([draw.randrange(values) for _ in range(entries)])) for _ in range(places)]
        expected = stats.friedmanchisquare(*zip(*ranks, strict=True)).pvalue  # with ties in all but the last
        assert statistics.friedman(ranks) == pytest.approx(expected, rel=1e-12)
        q = stats.studentized_range.ppf(0.95, entries, math.inf)
        expected = q * math.sqrt(entries * (entries + 1) / (12 * places))
        assert statistics.nemenyi(entries, places) == pytest.approx(expected, rel=1e-11)


def test_mcnemar_is_the_binomial_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    # 1 of 8: 2 * (1 + 8) / 256
    assert statistics.mcnemar(1, 7) == pytest.approx(18 / 256) == statistics.mcnemar(7, 1)
    assert statistics.mcnemar(30, 51) == pytest.approx(float(stats.binomtest(30, 81).pvalue))
    assert statistics.mcnemar(0, 0) == 1.0 == statistics.mcnemar(4, 4)


def test_the_best_of_several_equals() -> None:
    # expected largest of 2 and 3 normals: 1 / sqrt(pi), 3 / (2 sqrt(pi)); of 5: 1.16296 (Tippett's tables)
    assert statistics.optimism(1) == pytest.approx(0.0, abs=1e-9)
    assert statistics.optimism(2) == pytest.approx(math.pi**-0.5, abs=1e-6)
    assert statistics.optimism(3) == pytest.approx(1.5 * math.pi**-0.5, abs=1e-6)
    assert statistics.optimism(5) == pytest.approx(1.16296, abs=1e-5)


@pytest.mark.usefixtures("without_scipy")
def test_without_scipy_the_table_says_what_is_missing() -> None:
    table = build_table(quickstart(), TableSpec(baseline="kd"))
    assert all(cell.interval is None and cell.p_value is None for cell in table.cells.values())
    assert all(cell.mean is not None and cell.std is not None and cell.n == 3 for cell in table.cells.values())
    assert "kdharness[report]" in table.missing
    for form in set(FORMATS) - {"csv"}:
        assert "kdharness[report]" in render(table, form).replace("{[}", "[").replace("{]}", "]").replace(
            "\\[", "["
        ).replace("\\]", "]")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted as Linux tells them")
@pytest.mark.parametrize("asked", [None, "2"])
def test_scipy_is_loaded_without_threads_that_spin_and_nobody_else_is_told_so(asked: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    code = """
import os
import random
from kdharness.reporting import statistics
assert statistics.available()
print(os.environ.get("OPENBLAS_NUM_THREADS"), len(os.listdir("/proc/self/task")))
"""
    environment |= {"OPENBLAS_NUM_THREADS": asked} if asked else {}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    told, threads = done.stdout.split()
    assert told == str(asked) and (int(threads) == 1 or asked)
