"""Every method works on every pair of the papers' CIFAR-100 tables, or says why it cannot."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch

from kdharness.core.errors import IncompatiblePair
from kdharness.core.types import Batch, BuildContext, Model, Outputs
from kdharness.distillers.registry import DISTILLERS
from kdharness.models.registry import MODELS

CLASSES, ROWS, TRAIN_SIZE, IMAGE_SHAPE = 10, 4, 80, (3, 32, 32)
SAME = (
    "resnet56 -> resnet20",
    "resnet110 -> resnet20",
    "resnet110 -> resnet32",
    "resnet32x4 -> resnet8x4",
    "wrn_40_2 -> wrn_16_2",
    "wrn_40_2 -> wrn_40_1",
    "vgg13 -> vgg8",
)
CROSS = (
    "vgg13 -> mobilenetv2",
    "resnet50_cifar -> mobilenetv2",
    "wrn_40_2 -> mobilenetv2",
    "resnet50_cifar -> vgg8",
    "resnet32x4 -> vgg8",
    "resnet32x4 -> shufflenetv1",
    "resnet32x4 -> shufflenetv2",
    "wrn_40_2 -> shufflenetv1",
    "wrn_40_2 -> resnet8x4",
    "resnet32x4 -> wrn_40_2",
    "resnet32x4 -> wrn_16_2",
    "vgg13 -> wrn_16_2",
    "resnet50_cifar -> wrn_16_2",
)

CANNOT: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "fsp": {
        "products of channels are compared, without adapters: the paper's tables leave these pairs out": (
            "wrn_40_2 -> wrn_40_1",
            *CROSS,
        )
    },
    "ab": {
        "maps of 4 x 4 and 2 x 2 have no strided convolution to the other's 16 x 16 and 8 x 8; no table prints it": (
            "wrn_40_2 -> mobilenetv2",
            "resnet32x4 -> vgg8",
        )
    },
    "fcfd": {
        "bridges halve or double a map, and here it is four times as high; no table prints it": (
            "wrn_40_2 -> mobilenetv2",
            "resnet32x4 -> vgg8",
            "vgg13 -> wrn_16_2",
        )
    },
}
"""Method -> why -> the pairs that it refuses."""
SHAPE = r"\(\d+, \d+, \d+\)"


@dataclass(frozen=True)
class Pair:
    """Both networks and what they say of four images of noise."""

    student: Model
    teacher: Model
    outputs: tuple[Outputs, Outputs]


@cache
def pair_of(name: str) -> Pair:
    teacher, student = (network_of(side) for side in name.split(" -> "))
    return Pair(student[0], teacher[0], (student[1], teacher[1]))


@cache
def network_of(name: str) -> tuple[Model, Outputs]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = MODELS.get(name).build(CLASSES, IMAGE_SHAPE)
    with torch.no_grad():
        images = torch.randn((2 * ROWS, *IMAGE_SHAPE), generator=torch.Generator().manual_seed(7))
        both: Outputs = model(images)
    first, second = (rows(both, slice(start, start + ROWS)) for start in (0, ROWS))
    return model, replace(first, second=second)


def rows(outputs: Outputs, chosen: slice) -> Outputs:
    return Outputs(
        outputs.logits[chosen], outputs.pooled[chosen], {k: value[chosen] for k, value in outputs.stages.items()}
    )


@pytest.mark.parametrize("pair", [*SAME, *CROSS])
@pytest.mark.parametrize("name", list(DISTILLERS))
def test_every_method_on_every_pair(name: str, pair: str) -> None:
    method, networks = DISTILLERS.get(name), pair_of(pair)
    distiller = method(method.Config())
    labels = torch.arange(ROWS)
    context = BuildContext(CLASSES, TRAIN_SIZE, IMAGE_SHAPE, torch.arange(TRAIN_SIZE) % CLASSES)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        if any(pair in refused for refused in CANNOT.get(name, {}).values()):
            with pytest.raises(IncompatiblePair, match=rf"{SHAPE}.*{SHAPE}"):
                distiller.build(networks.student, networks.teacher, context)
            return
        distiller.build(networks.student, networks.teacher, context)
    batch = Batch(
        torch.zeros(ROWS, *IMAGE_SHAPE),
        labels,
        labels,
        torch.tensor(1),
        torch.tensor(0),
        torch.Generator().manual_seed(3),
        torch.zeros(ROWS, *IMAGE_SHAPE),
        frozenset(distiller.weights(1)),
    )
    student, teacher = networks.outputs
    with torch.no_grad():
        terms = dict(distiller.losses(student, teacher, batch))
        for phase in distiller.phases():
            terms |= phase.losses(student, teacher, batch)
        predicted = distiller.predict(student, teacher)
    assert all(torch.isfinite(value) for value in terms.values()), terms
    assert predicted.shape == (ROWS, CLASSES) and torch.isfinite(predicted).all()
