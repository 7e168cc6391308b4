"""Worked examples, by hand where they can be and by scipy.stats where not."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from kdharness.core.records import TableSpec
from kdharness.reporting import statistics
from kdharness.reporting.render import FORMATS, render
from kdharness.reporting.tables import build_table

from .frames import quickstart


@pytest.fixture
def without_scipy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    statistics._student.cache_clear()
    yield
    statistics._student.cache_clear()


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
