"""Several teachers as one: their raw logits averaged (LumiNet, Figure 3d, "logit averaging ensemble")."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from kdharness.core.errors import IncompatiblePair
from kdharness.core.types import Model, Outputs


class Ensemble(Model):
    """Networks in equal parts: the mean of their logits, their pooled features side by side.

    It has no layers, no tail and no classifier: a method that asks for one is refused.
    """

    def __init__(self, members: Sequence[Model]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        pooled = sum(member.shapes["pooled"][0] for member in members)
        self.shapes = {"pooled": (pooled,), "logits": members[0].shapes["logits"]}

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        return {}

    @property
    def classifier(self) -> NoReturn:
        """Raises IncompatiblePair."""
        raise IncompatiblePair("an ensemble of teachers has no classifier: only its logits can teach")

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        return {}

    def forward(self, images: Tensor) -> Outputs:
        """(B, C, H, W) -> Outputs without stages."""
        each: list[Outputs] = [member(images) for member in self.members]
        logits = torch.stack([outputs.logits for outputs in each]).mean(0)
        return Outputs(logits, torch.cat([outputs.pooled for outputs in each], 1))

    def forward_from(self, stage: str, features: Tensor, *, update_statistics: bool = False) -> NoReturn:
        """Raises KeyError: there is no layer to continue from."""
        raise KeyError(f"an ensemble of teachers has no layer {stage!r} to continue from")
