"""What a step reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Stepped:
    """What a step was trained on: 0-d tensors of before its update, detached, not yet read."""

    terms: Mapping[str, Tensor]
    """Those that are active, unweighted; a phase's as it gives them."""
    loss: Tensor
    """The weighted sum of the terms: what the student minimises."""
    correct: Tensor
    """int64: how many images of the batch the student's own logits had right."""
    gradient: Tensor | None = None
    """L2 norm of the gradient of `loss` by the student's parameters, where the recipe records gradients."""
    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    """The same of each weighted term alone, at an epoch's first step."""
