"""What the steps of an epoch add up to, kept on the device: nothing is read before the epoch's end."""

from collections.abc import Mapping

import torch
from torch import Tensor

from kdharness.training.stepped import Stepped


class Sums:
    """One 0-d tensor per name, always the same one, so that a recorded step goes on adding to it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._values: dict[str, Tensor] = {}
        self.names: tuple[str, ...] = ()
        """What this epoch has added to, in order."""

    def add(self, stepped: Stepped, rows: int, images: int) -> None:
        """A step on `rows` images of an epoch of `images`."""
        parts = {name: value.double() * rows for name, value in (("loss", stepped.loss), *stepped.terms.items())}
        if stepped.gradient is not None:
            parts["gradient"] = stepped.gradient.double() * rows
        for term, value in stepped.gradients.items():  # of one step: as if every image of the epoch had given it
            parts[f"gradient_{term}"] = value.double() * images
        parts["top1"] = stepped.correct
        for name, value in parts.items():
            if name not in self._values:
                self._values[name] = torch.zeros((), dtype=value.dtype, device=self._device)
            self._values[name].add_(value)
        self.count(tuple(parts))

    def count(self, names: tuple[str, ...]) -> None:
        """These have been added to."""
        self.names = tuple(dict.fromkeys((*self.names, *names)))

    def reset(self) -> None:
        """Begin at 0."""
        for value in self._values.values():
            value.zero_()
        self.names = ()

    @property
    def values(self) -> dict[str, Tensor]:
        """By name, in order: the tensors themselves."""
        return {name: self._values[name] for name in self.names}

    @property
    def tensors(self) -> list[Tensor]:
        """All that there are, also those that this epoch has not yet added to."""
        return list(self._values.values())

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Go on from those."""
        self._values = {name: value.to(self._device).clone() for name, value in values.items()}
        self.names = tuple(values)
