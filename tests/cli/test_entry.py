"""The command as a process begins and ends it."""

import gc

import pytest

from kdharness import __main__ as entry
from kdharness.cli import app


def test_imports_are_not_searched_for_cycles_and_nothing_is_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    before, thresholds = gc.get_threshold(), []

    def command() -> None:
        thresholds.append(gc.get_threshold()[0])
        raise SystemExit(3)

    monkeypatch.setattr(app, "main", command)
    try:
        with pytest.raises(SystemExit):
            entry.main()
        assert thresholds == [entry.NEW_OBJECTS]
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
