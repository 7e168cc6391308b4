"""What a distiller gets to see of a network: the declared part, and nothing that it could train or move by accident."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from kdharness.core.types import Model, Outputs


@dataclass(frozen=True)
class View:
    """A NetworkView on a model. Not a module, so that an adapter which keeps it does not adopt its parameters."""

    model: Model
    tails: bool

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.model.shapes

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        return self.model.batch_norms

    @property
    def classifier(self) -> nn.Linear:
        return self.model.classifier

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        return self.model.layers

    def forward_from(self, stage: str, features: Tensor, *, update_statistics: bool = False) -> Outputs:
        """See NetworkView.forward_from. Raises RuntimeError where the distiller's needs do not name tails."""
        if not self.tails:
            raise RuntimeError("forward_from is for distillers whose needs say tails=True")
        return self.model.forward_from(stage, features, update_statistics=update_statistics)
