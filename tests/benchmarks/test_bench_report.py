import json

import pytest

from kdharness.benchmarks.measuring import Figure
from kdharness.benchmarks.report import Bar, Report, as_json, compare, read, render
from kdharness.core.errors import BadInput

MACHINE = {
    "device": "cpu (a)",
    "cores": 2,
    "threads": 1,
    "versions": {"torch": "2"},
    "commit": None,
    "started": "2026-11-21T00:00:00+00:00",
    "load": [0.5, 1.25],
    "seconds": 3,
}


def report(*values, bench="step", **changes):
    figures = [Figure("CPU time", "pair", "cold", "ms", values), Figure("wall time", "pair", "cold", "x", values)]
    bars = [Bar("C1", "cold", 2.5, "x", 2.4, 3.0), Bar("H1", "own", 1.0, "%", 0.25, better="lower")]
    return Report(bench, "About.", MACHINE | changes, figures, bars, ["a note"])


def saved(path, found):
    path.write_text(json.dumps(as_json(found)))
    return path


def test_a_report_comes_back_as_it_was_written(tmp_path):
    found = report(1.0, 2.0, 4.0)
    assert read(saved(tmp_path / "a.json", found)) == found


def test_markdown_has_a_table_per_clock_and_says_which_bars_are_met():
    lines = render(report(1234.0, 1234.0, 1300.0)).splitlines()
    assert "| pair | 1,234 ms (1,234–1,267) |" in lines
    assert "| pair | 1,234× (1,234–1,267) |" in lines
    assert "| C1 | cold | 2.40× | ≥ 2.50× | ≥ 3.00× | missed |" in lines
    assert "| H1 | own | 0.250 % | ≤ 1.00 % |  | met |" in lines
    assert "- a note" in lines
    assert lines[-1].endswith("3 s; load average 0.5 before, 1.2 after.")
    tables = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in tables if "ms" in line}) == 1


@pytest.mark.parametrize(("value", "shown"), [(0.0123, "0.0123"), (9.999, "10.00"), (123.4, "123"), (0.0, "0")])
def test_numbers_have_three_digits(value, shown):
    assert f"| pair | {shown} ms |" in render(report(value))


@pytest.mark.parametrize(("new", "mark"), [((4.0, 5.0, 6.0), "changed"), ((2.0, 3.0, 4.0), "")])
def test_a_change_is_one_beyond_both_ranges(new, mark):
    row = next(line for line in compare(report(1.0, 2.0, 3.0), report(*new)).splitlines() if "CPU" in line)
    assert row.endswith(f"| {new[1] / 2:.2f} | {mark} |")


def test_other_machines_and_benchmarks_are_told():
    assert "threads: 1 then, 2 now" in compare(report(1.0), report(1.0, threads=2))
    with pytest.raises(BadInput, match="of bench data"):
        compare(report(1.0, bench="data"), report(1.0))


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 99}', '{"format": 1, "figures": [{}]}'])
def test_what_is_no_report_is_refused_in_one_sentence(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(BadInput):
        read(path)
    with pytest.raises(BadInput, match="cannot be read"):
        read(tmp_path / "none.json")
