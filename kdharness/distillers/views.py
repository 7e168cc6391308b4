"""The logits for the two views of an image, for methods whose `needs` say `views=2`."""

from torch import Tensor

from kdharness.core.types import Outputs


def of_both_views(outputs: Outputs) -> tuple[Tensor, Tensor]:
    """The logits for the first (weak) view and for the second (strong) one. Raises ValueError where that is missing."""
    if outputs.second is None:
        raise ValueError("no outputs of a second view: the distiller's needs must say views=2")
    return outputs.logits, outputs.second.logits
