"""The networks of the zoo as a list: how large they are, what they cost, how good the literature has them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from kdharness.core.errors import BadInput
from kdharness.core.types import Dataset
from kdharness.models.registry import MODELS


@dataclass(frozen=True)
class ModelSize:
    """What one network is for images of one shape."""

    parameters: int
    multiply_adds: int
    """For one image: of convolutions, linear layers and products of matrices, so that attention counts in full.

    Normalisation, activations, pooling and additions count nothing, as in the tables of the literature. Many of those
    leave out the two products inside attention too, which at 224 pixels make 4 % of PVT-Ti's and 29 % of PiT-Ti's.
    """
    stages: int


@dataclass(frozen=True)
class ListedModel:
    """One line of the list."""

    name: str
    printed: str
    family: str
    image_shape: tuple[int, int, int]
    classes: int
    size: ModelSize
    published: Mapping[str, float]
    """Dataset -> test top-1 accuracy (%) in the literature, trained on labels alone."""


def list_models(dataset: Dataset | None = None) -> list[ListedModel]:
    """Every network, smallest first within its family, for the images that the literature gives it.

    With `dataset` the networks that take its images, at their size and number of classes.
    """
    found = []
    for name in MODELS:
        entry = MODELS.get(name)
        shape = dataset.image_shape if dataset else (3, entry.native, entry.native)
        classes = dataset.num_classes if dataset else entry.classes
        try:
            size = model_size(name, classes, shape)
        except BadInput:
            continue
        published = {of: top1 for of, top1 in entry.published.items() if dataset is None or of == dataset.name}
        found.append(ListedModel(name, entry.printed, entry.family, shape, classes, size, published))
    return sorted(found, key=lambda model: (model.family, model.size.parameters))


@cache
def model_size(name: str, num_classes: int, image_shape: tuple[int, int, int]) -> ModelSize:
    """Counted on the meta device: nothing is computed and no memory is taken.

    Raises UnknownName, and BadInput for images that the network does not take.
    """
    from torch.utils.flop_counter import FlopCounterMode  # here: naming the zoo must not cost its import

    with torch.device("meta"):
        network = MODELS.get(name).build(num_classes, image_shape).eval()
    with torch.no_grad(), _WithoutBatchNorms(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, *image_shape, device="meta"))
    return ModelSize(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=counter.get_total_flops() // 2,
        stages=sum(layer.startswith("stage") and "." not in layer for layer in network.shapes),
    )


class _WithoutBatchNorms(TorchFunctionMode):
    """Passes batch norms over: they count nothing, and on the meta device they take half of the time."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.batch_norm:
            features: Tensor = args[0]
            return features
        return func(*args, **(kwargs or {}))
