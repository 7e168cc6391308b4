"""Every fault of the list has a test that is there, or is said to be later work."""

from pathlib import Path

import pytest
from faults import FAULTS, LATER

ROOT = Path(__file__).parents[2]


def test_every_fault_is_in_one_of_the_lists() -> None:
    assert sorted([*FAULTS, *LATER]) == list(range(1, 76))


@pytest.mark.parametrize("number", FAULTS)
def test_its_tests_are_there(number: int) -> None:
    _, *tests = FAULTS[number]
    assert tests
    for test in tests:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(), test
