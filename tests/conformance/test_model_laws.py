"""Every network of the zoo keeps the laws."""

from collections.abc import Callable

import pytest

from kdharness.core.types import ModelEntry
from kdharness.models.registry import MODELS
from kdharness.testing.model import CIFAR, MODEL_CHECKS, SMALL, check_members, check_shapes

LARGER = {
    **dict.fromkeys(("vgg11", "vgg13", "vgg16", "vgg19"), "vgg8"),
    **dict.fromkeys(("resnet34_cifar", "resnet50_cifar"), "resnet18_cifar"),
    **dict.fromkeys((f"resnet{depth}_imagenet" for depth in (34, 50, 101)), "resnet18_imagenet"),
}
"""Networks of ten million weights and more -> the sibling of the same class that stands in for them, to save time:
for themselves they keep only the laws on shapes and members."""
FULL = [name for name in MODELS if name not in LARGER]


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", FULL)
def test_law(name: str, check: Callable[[ModelEntry, tuple[int, int, int]], None]) -> None:
    check(MODELS.get(name), SMALL)


@pytest.mark.parametrize("shape", [SMALL, CIFAR, (1, 9, 7)], ids=str)
@pytest.mark.parametrize("name", FULL)
def test_shapes(name: str, shape: tuple[int, int, int]) -> None:
    check_shapes(MODELS.get(name), shape)


@pytest.mark.parametrize("name", LARGER)
def test_larger(name: str) -> None:
    entry, sibling = MODELS.get(name), MODELS.get(LARGER[name])
    assert entry.family == sibling.family and LARGER[name] in FULL
    check_shapes(entry, SMALL)
    check_members(entry, SMALL)


@pytest.mark.parametrize("name", list(MODELS))
def test_entry(name: str) -> None:
    entry = MODELS.get(name)
    assert entry.name == name and entry.family and entry.printed and entry.revision >= 1
