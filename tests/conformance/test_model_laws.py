"""Every network of the zoo keeps the laws."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from kdharness.core.types import ModelEntry, Outputs
from kdharness.models.deit import DeiT
from kdharness.models.registry import MODELS
from kdharness.models.transformer import as_map, as_tokens
from kdharness.testing.model import (
    MODEL_CHECKS,
    Shape,
    check_members,
    check_reproducible,
    check_shapes,
    check_tails,
    larger_shape,
    smallest_shape,
)

LARGER = {
    **dict.fromkeys(("vgg11", "vgg13", "vgg16", "vgg19"), "vgg8"),
    **dict.fromkeys(("resnet34_cifar", "resnet50_cifar"), "resnet18_cifar"),
    **dict.fromkeys((f"resnet{depth}_imagenet" for depth in (34, 50, 101)), "resnet18_imagenet"),
}
"""Networks of ten million weights and more -> the sibling of the same class that stands in for them, to save time:
for themselves they keep only the laws on shapes and members."""
LARGEST = "resnet152_imagenet"
"""Of the class of `resnet101_imagenet`, and 60 million weights: only on the meta device."""
FULL = [name for name in MODELS if name not in LARGER and name != LARGEST]


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


def test_largest() -> None:
    with torch.device("meta"):
        model = MODELS.get(LARGEST).build(10, (3, 64, 64)).eval()
        outputs = model(torch.empty(2, 3, 64, 64))
    found = {name: tuple(features.shape[1:]) for name, features in outputs.stages.items()}
    assert {**found, "pooled": (2048,), "logits": (10,)} == model.shapes


@pytest.mark.parametrize("name", list(MODELS))
def test_entry(name: str) -> None:
    entry = MODELS.get(name)
    assert entry.name == name and entry.family and entry.printed and entry.revision >= 1
    assert entry.native >= entry.smallest and all(0 < accuracy < 100 for accuracy in entry.published.values())


class Silent(DeiT):
    def forward_from(self, stage: str, features: Tensor, *, update_statistics: bool = False) -> Outputs:
        if f"{stage}.tokens" in self.shapes:
            raise KeyError("no")
        return super().forward_from(stage, features, update_statistics=update_statistics)


class Accepting(DeiT):
    """Continues from the patches alone, as if the class token were nothing."""

    def forward_from(self, stage: str, features: Tensor, *, update_statistics: bool = False) -> Outputs:
        if f"{stage}.tokens" in self.shapes:
            tokens = as_tokens(features)
            stage, features = f"{stage}.tokens", torch.cat((torch.zeros_like(tokens[:, :1]), tokens), 1)
        return super().forward_from(stage, features, update_statistics=update_statistics)


class Misread(DeiT):
    """Its maps begin with the class token."""

    def forward(self, images: Tensor) -> Outputs:
        outputs = super().forward(images)
        maps = {f"stage{n}": as_map(outputs.stages[f"stage{n}.tokens"][:, :-1], self.shapes["stem"]) for n in (1, 2)}
        return replace(outputs, stages={**outputs.stages, **maps})


class Loose(DeiT):
    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        return {**super().layers, "stem": (self.patch_embed,)}


class Foreign(DeiT):
    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        own = super().layers
        return {**own, "stem": (*own["stem"], nn.ParameterList([nn.Parameter(torch.zeros(1))]))}


class Dropping(DeiT):
    def forward(self, images: Tensor) -> Outputs:
        return super().forward(nn.functional.dropout(images, 0.5))


class Unseeded(DeiT):
    """Draws from a generator that nobody seeds."""

    def forward(self, images: Tensor) -> Outputs:
        noise = torch.randn(images.shape, generator=SOURCE, dtype=images.dtype)
        return super().forward(images + noise if self.training else images)


class SecondHeadOnly(DeiT):
    def forward(self, images: Tensor) -> Outputs:
        outputs = super().forward(images)
        return replace(outputs, logits=outputs.stages["distill_logits"])


SOURCE = torch.Generator()


@pytest.mark.parametrize(
    ("broken", "check", "message"),
    [
        (Silent, check_tails, "cannot continue"),
        (Accepting, check_tails, "differs"),
        (Misread, check_shapes, "not the end"),
        (Loose, check_members, "no layer holds cls_token"),
        (Foreign, check_members, "not its own"),
        (Dropping, check_reproducible, "eval mode"),
        (Unseeded, check_reproducible, "in train mode"),
        (SecondHeadOnly, check_members, "is not logits"),
    ],
)
def test_a_broken_transformer_is_found(
    broken: type[DeiT], check: Callable[[ModelEntry, Shape | None], None], message: str
) -> None:
    entry = replace(MODELS.get("deit_tiny"), build=lambda classes, shape: broken(True, classes, shape))
    with pytest.raises(AssertionError, match=message):
        check(entry, (3, 32, 32))
