"""The command as a process begins and ends it."""

import gc
import sys

import pytest

from kdharness import __main__ as entry
from kdharness.cli import app
from kdharness.cli.app import options_first
from kdharness.core.cycles import search_as_usual


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("check a.yaml --plugin mine --debug", "--plugin mine --debug check a.yaml"),
        ("--plugin a run --plugin=b x.yaml", "--plugin a --plugin=b run x.yaml"),
        ("check a.yaml --plugin", "--plugin"),
        ("note r1 -- --debug", "note r1 -- --debug"),
        ("report small --format md", "report small --format md"),
    ],
)
def test_options_of_every_command_may_stand_after_its_name(given: str, meant: str) -> None:
    assert options_first(given.split()) == meant.split()


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
