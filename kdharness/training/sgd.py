"""Stochastic gradient descent with momentum and weight decay, as the papers use it.

Bit for bit `torch.optim.SGD`. It is written out because torch's own loads the compiler (1.2 s and 200 MB) when it is
made, in every job, and because the learning rate and the momentum are the loop's to keep and to save.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class SGD:
    """`d = g + weight_decay p; v = momentum v + d (v = d at the first step); p -= lr v`, without dampening.

    With Nesterov's momentum `p -= lr (d + momentum v)`. A parameter whose gradient is absent is left alone: it does
    not decay. One whose gradient is zero decays.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        momentum: float,
        weight_decay: float,
        nesterov: bool = False,
        undecayed: Collection[int] = (),
    ) -> None:
        """`undecayed` are the places in `parameters` of those that weight decay spares."""
        self.parameters = list(parameters)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        self.undecayed = frozenset(undecayed)
        self._velocities: list[Tensor | None] = [None] * len(self.parameters)

    def zero_grad(self) -> None:
        """Make every gradient absent."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float | Tensor) -> None:
        """Move every parameter that has a gradient.

        A number by torch's foreach, a 0-d tensor by its fused kernel, which reads it on the device when it runs. Their
        last bits differ (the fused one rounds the odd numbers at a tensor's end once more), so a CPU keeps to foreach.
        """
        moved = [index for index, parameter in enumerate(self.parameters) if parameter.grad is not None]
        if not moved:
            return
        if isinstance(lr, Tensor):
            self._fused(moved, lr)
            return
        parameters: list[Tensor] = [self.parameters[index] for index in moved]
        directions = [gradient for index in moved if (gradient := self.parameters[index].grad) is not None]
        if self.weight_decay:
            directions = self._decayed(moved, directions)
        if self.momentum:
            velocities = self._accelerated(moved, directions)
            if self.nesterov:
                directions = list(torch._foreach_add(directions, velocities, alpha=self.momentum))
            else:
                directions = velocities
        torch._foreach_add_(parameters, directions, alpha=-lr)

    def _fused(self, moved: list[int], lr: Tensor) -> None:
        """One kernel for all that decay alike and have, or have not, been moved before."""
        groups: dict[tuple[bool, bool], list[int]] = {}
        for index in moved:
            first = bool(self.momentum) and self._velocities[index] is None
            groups.setdefault((first, index in self.undecayed), []).append(index)
        for (first, undecayed), group in groups.items():
            if first:
                for index in group:
                    self._velocities[index] = torch.zeros_like(self.parameters[index])
            torch._fused_sgd_(
                [self.parameters[index] for index in group],
                [gradient for index in group if (gradient := self.parameters[index].grad) is not None],
                [velocity for index in group if (velocity := self._velocities[index]) is not None],
                weight_decay=0.0 if undecayed else self.weight_decay,
                momentum=self.momentum,
                lr=lr,
                dampening=0.0,
                nesterov=self.nesterov,
                maximize=False,
                is_first_step=first,
            )

    def _decayed(self, moved: list[int], directions: list[Tensor]) -> list[Tensor]:
        """The gradients plus the weight decay of those that decay."""
        places = [place for place, index in enumerate(moved) if index not in self.undecayed]
        if places:
            parameters: list[Tensor] = [self.parameters[moved[place]] for place in places]
            decayed = torch._foreach_add([directions[place] for place in places], parameters, alpha=self.weight_decay)
            for place, direction in zip(places, decayed, strict=True):
                directions[place] = direction
        return directions

    def _accelerated(self, moved: list[int], directions: list[Tensor]) -> list[Tensor]:
        """The velocities after this step; a parameter's first one is its direction."""
        before = [(velocity, now) for index, now in zip(moved, directions, strict=True)
                  if (velocity := self._velocities[index]) is not None]  # fmt: skip
        if before:
            velocities, added = [velocity for velocity, _ in before], [now for _, now in before]
            torch._foreach_mul_(velocities, self.momentum)
            torch._foreach_add_(velocities, added)
        for index, now in zip(moved, directions, strict=True):
            if self._velocities[index] is None:
                self._velocities[index] = now.clone()
        return [velocity for index in moved if (velocity := self._velocities[index]) is not None]

    @property
    def tensors(self) -> list[Tensor]:
        """What a step changes besides the parameters."""
        return [velocity for velocity in self._velocities if velocity is not None]

    def state_dict(self) -> dict[str, Any]:
        """The velocities, in the parameters' order; None for one that was never moved."""
        return {"velocities": list(self._velocities)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with these velocities. Raises ValueError where they are of other parameters."""
        velocities = list(state["velocities"])
        shapes = [velocity is None or velocity.shape == parameter.shape
                  for velocity, parameter in zip(velocities, self.parameters, strict=True)]  # fmt: skip
        if not all(shapes):
            raise ValueError("the velocities are of other parameters")
        self._velocities = [
            velocity if velocity is None else velocity.to(parameter.device)
            for velocity, parameter in zip(velocities, self.parameters, strict=True)
        ]
