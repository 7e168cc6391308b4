"""Every network of the zoo keeps the laws."""

from collections.abc import Callable

import pytest

from kdharness.core.types import ModelEntry
from kdharness.models.registry import MODELS
from kdharness.testing.model import MODEL_CHECKS, Shape, check_members, check_shapes, larger_shape, smallest_shape

LARGER = {
    **dict.fromkeys(("vgg11", "vgg13", "vgg16", "vgg19"), "vgg8"),
    **dict.fromkeys(("resnet34_cifar", "resnet50_cifar"), "resnet18_cifar"),
    **dict.fromkeys((f"resnet{depth}_imagenet" for depth in (34, 50, 101, 152)), "resnet18_imagenet"),
}
"""Networks of ten million weights and more -> the sibling of the same class that stands in for them, to save time:
for themselves they keep only the laws on shapes and members."""
FULL = [name for name in MODELS if name not in LARGER]


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", FULL)
def test_law(name: str, check: Callable[[ModelEntry, Shape | None], None]) -> None:
    check(MODELS.get(name), None)


@pytest.mark.parametrize("shape", [smallest_shape, larger_shape], ids=["smallest", "larger"])
@pytest.mark.parametrize("name", FULL)
def test_shapes(name: str, shape: Callable[[ModelEntry], Shape]) -> None:
    check_shapes(MODELS.get(name), shape(MODELS.get(name)))


@pytest.mark.parametrize("name", FULL)
def test_images_of_another_form(name: str) -> None:
    """Not square, and of one channel; where there are patches, a whole number of them."""
    entry = MODELS.get(name)
    check_shapes(entry, (1, 9, 7) if entry.smallest == 8 else (1, 3 * entry.smallest, 2 * entry.smallest))


@pytest.mark.parametrize("name", LARGER)
def test_larger(name: str) -> None:
    entry, sibling = MODELS.get(name), MODELS.get(LARGER[name])
    assert entry.family == sibling.family and LARGER[name] in FULL
    check_shapes(entry)
    check_members(entry)


@pytest.mark.parametrize("name", list(MODELS))
def test_entry(name: str) -> None:
    entry = MODELS.get(name)
    assert entry.name == name and entry.family and entry.printed and entry.revision >= 1
    assert entry.native >= entry.smallest and all(0 < accuracy < 100 for accuracy in entry.published.values())
