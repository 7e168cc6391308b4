"""How steep and how steady the loss is at a trained student: gradient norm and variance (LumiNet, Table 7)."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.evaluation.judged import Found

ROWS = 64
"""Images whose mean loss makes one gradient: the batch of the papers' CIFAR recipe."""


def gradients(
    network: nn.Module, logits: Callable[[Tensor], Tensor], images: Iterable[Tensor], labels: Tensor
) -> Found:
    """Of the cross-entropy by the network's parameters, in eval mode, over batches of the split in its order.

    - `gradient_norm`: the mean over batches of the L2 norm of the gradient.
    - `gradient_variance`: the mean over parameters of the variance over batches (divisor: batches).

    The paper prints "average gradient L2 norm" and "gradient variance" without saying of which loss, at which moment,
    over what, or in which mode; in its text the variances are ordered otherwise than in its table. What happens during
    training is recorded by `record: [gradients]`.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    total = [torch.zeros_like(parameter) for parameter in parameters]
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    norms = []
    start = 0
    for batch in images:
        loss = F.cross_entropy(logits(batch), labels[start : start + len(batch)])
        start += len(batch)
        found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        norms.append(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(found))))
        torch._foreach_add_(total, found)
        torch._foreach_add_(squares, torch._foreach_mul(found, found))
    number, size = len(norms), sum(parameter.numel() for parameter in parameters)
    variance = sum(
        (square.double() / number - (one.double() / number).square()).clamp(min=0).sum().item()
        for one, square in zip(total, squares, strict=True)
    )
    each = torch.stack(norms).double().cpu()
    return Found({"gradient_norm": each.mean().item(), "gradient_variance": variance / size}, {"norms": each.numpy()})
