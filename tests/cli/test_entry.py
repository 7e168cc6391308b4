"""The command as a process begins and ends it."""

import gc
import sys

import pytest

from kdharness import __main__ as entry
from kdharness.cli import app
from kdharness.core.cycles import search_as_usual


@pytest.mark.parametrize("triton", [False, True])
def test_imports_are_not_searched_for_cycles_and_at_the_end_only_where_triton_asks(
    monkeypatch: pytest.MonkeyPatch, triton: bool
) -> None:
    before, thresholds = gc.get_threshold(), []

    def command() -> None:
        thresholds.append(gc.get_threshold()[0])
        raise SystemExit(3)

    monkeypatch.setattr(app, "main", command)
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    if triton:
        monkeypatch.setitem(sys.modules, "triton", gc)
    gc.unfreeze()
    try:
        with pytest.raises(SystemExit):
            entry.main()
        assert thresholds[0] > 10 * before[0]
        assert (gc.get_freeze_count() > 0) is not triton
    finally:
        gc.unfreeze()
        search_as_usual()
        assert gc.get_threshold() == before
