"""The prices are measured: the short one of them, with few repetitions."""

from pathlib import Path

import prices
import pytest


def test_what_safety_takes_of_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prices, "TIMES", 2)
    monkeypatch.setattr(prices, "STEPS", 10)
    prices.epoch(tmp_path / "home", 30.0)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip().partition(":")[0] for line in lines] == [
        "3 heartbeats", "10 times the loop's questions", "a checkpoint of 9.4 MiB", "all of an epoch of 30 s",
    ]  # fmt: skip
