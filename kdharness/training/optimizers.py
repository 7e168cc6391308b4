"""The recipe's optimizer over what is trained."""

from collections.abc import Iterable

import torch
from torch import nn

from kdharness.core.records import Recipe
from kdharness.training.adamw import AdamW
from kdharness.training.sgd import SGD

SECOND_BETA = 0.999
TOKENS = ("cls_token", "pos_embed", "distill_token")
"""What tiny-transformers (d2165f7) spares from weight decay besides vectors."""


def optimizer(recipe: Recipe, named: Iterable[tuple[str, nn.Parameter]]) -> SGD | AdamW:
    """Over the parameters, in their order; which of them decay is the recipe's `weight_decay_on`."""
    named = list(named)
    parameters = [parameter for _, parameter in named]
    undecayed: list[int] = []
    if recipe.weight_decay_on == "matrices":
        undecayed = [place for place, (name, parameter) in enumerate(named) if spared(name, parameter)]
    if recipe.optimizer == "adamw":
        betas = (recipe.momentum, SECOND_BETA)
        return AdamW(parameters, betas=betas, weight_decay=recipe.weight_decay, undecayed=undecayed)
    return SGD(
        parameters,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
        undecayed=undecayed,
    )


def spared(name: str, parameter: nn.Parameter) -> bool:
    """Whether `weight_decay_on = "matrices"` spares it: a vector, a bias, a token or a position embedding."""
    return parameter.ndim <= 1 or name.endswith(".bias") or any(token in name for token in TOKENS)


def reads_tensors(device: torch.device) -> bool:
    """Whether the learning rate is told as a tensor: on a GPU, where nobody waits for it. A CPU keeps its bits."""
    return device.type == "cuda"
