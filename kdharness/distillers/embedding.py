"""A linear map of pooled features into a space that student and teacher share."""

from torch import Tensor, nn

from kdharness.core.types import NetworkView
from kdharness.distillers.losses import in_full


class Embedding(nn.Module):
    """(B, ...) -> (B, dimension); key `linear`, as in the released codes."""

    def __init__(self, width: int, dimension: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, dimension)

    def forward(self, pooled: Tensor) -> Tensor:
        embedded: Tensor = self.linear(in_full(pooled).flatten(1).to(self.linear.weight.dtype))
        return embedded


def embeddings(student: NetworkView, teacher: NetworkView, dimension: int) -> nn.ModuleDict:
    """One for each network's pooled features: `embed_s` and `embed_t`."""
    return nn.ModuleDict(
        {
            "embed_s": Embedding(student.shapes["pooled"][0], dimension),
            "embed_t": Embedding(teacher.shapes["pooled"][0], dimension),
        }
    )
