"""Every network of the zoo keeps the laws."""

from collections.abc import Callable

import pytest

from kdharness.core.types import ModelEntry
from kdharness.models.registry import MODELS
from kdharness.testing.model import CIFAR, MODEL_CHECKS, SMALL, check_shapes


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", list(MODELS))
def test_law(name: str, check: Callable[[ModelEntry, tuple[int, int, int]], None]) -> None:
    check(MODELS.get(name), SMALL)


@pytest.mark.parametrize("shape", [SMALL, CIFAR, (1, 9, 7)], ids=str)
@pytest.mark.parametrize("name", list(MODELS))
def test_shapes(name: str, shape: tuple[int, int, int]) -> None:
    check_shapes(MODELS.get(name), shape)


@pytest.mark.parametrize("name", list(MODELS))
def test_entry(name: str) -> None:
    entry = MODELS.get(name)
    assert entry.name == name and entry.family and entry.printed and entry.revision >= 1
