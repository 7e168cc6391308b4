"""L2 norms of gradients over all of a network's parameters together, for recipes that record them."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn


def norm(gradients: Iterable[Tensor | None], like: Tensor) -> Tensor:
    """() of the dtype and device of `like`: over all of them together; one that is absent counts nothing."""
    present = [gradient for gradient in gradients if gradient is not None]
    norms = torch._foreach_norm(present) if present else [torch.zeros_like(like)]
    whole: Tensor = torch.linalg.vector_norm(torch.stack(list(norms)))
    return whole


def of_terms(weighted: Mapping[str, Tensor], parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """Each term's own; the graph is kept, and no parameter's gradient is touched."""
    norms = {}
    for term, value in weighted.items():
        if value.requires_grad:
            gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            norms[term] = norm(gradients, value.detach())
        else:
            norms[term] = torch.zeros_like(value)
    return norms
