"""Adam with decoupled weight decay (Loshchilov and Hutter 2019), as the transformers are trained with.

Bit for bit `torch.optim.AdamW`, written out for the reasons that `sgd` names.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-8


class AdamW:
    """`p -= lr weight_decay p`, then `p -= lr m / (sqrt(v) + eps)` with the bias-corrected means m of the gradient and
    v of its square.

    A parameter whose gradient is absent is left alone and does not count the step.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        betas: tuple[float, float],
        weight_decay: float,
        undecayed: Collection[int] = (),
    ) -> None:
        """`undecayed` are the places in `parameters` of those that weight decay spares."""
        self.parameters = list(parameters)
        self.betas = betas
        self.weight_decay = weight_decay
        self.undecayed = frozenset(undecayed)
        self._steps = [0] * len(self.parameters)
        self._counted: Tensor | None = None
        self._means: list[Tensor] = [torch.zeros_like(each) for each in self.parameters]
        self._squares: list[Tensor] = [torch.zeros_like(each) for each in self.parameters]

    def zero_grad(self) -> None:
        """Make every gradient absent."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float | Tensor) -> None:
        """Move every parameter that has a gradient: by foreach or by the fused kernel, as `SGD.step`."""
        moved = [index for index, parameter in enumerate(self.parameters) if parameter.grad is not None]
        if not moved:
            return
        if isinstance(lr, Tensor):
            self._fused(moved, lr)
            return
        first, second = self.betas
        parameters: list[Tensor] = [self.parameters[index] for index in moved]
        gradients = [gradient for index in moved if (gradient := self.parameters[index].grad) is not None]
        means, squares = [self._means[index] for index in moved], [self._squares[index] for index in moved]
        for index in moved:
            self._steps[index] += 1

        decayed: list[Tensor] = [self.parameters[index] for index in moved if index not in self.undecayed]
        if self.weight_decay and decayed:
            torch._foreach_mul_(decayed, 1 - lr * self.weight_decay)
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        # The steps are counted as floats, as torch counts them: the powers are those of floats.
        sizes = [-(lr / (1 - first ** float(self._steps[index]))) for index in moved]
        corrections = [(1 - second ** float(self._steps[index])) ** 0.5 for index in moved]
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, corrections)
        torch._foreach_add_(roots, EPSILON)
        torch._foreach_addcdiv_(parameters, means, roots, sizes)

    def _fused(self, moved: list[int], lr: Tensor) -> None:
        """The steps are counted on the device: a recorded step counts them too."""
        if self._counted is None:
            self._counted = torch.tensor(self._steps, dtype=torch.float32, device=lr.device)
        counted = self._counted.unbind()
        torch._foreach_add_([counted[index] for index in moved], 1)
        for undecayed in (False, True):
            group = [index for index in moved if (index in self.undecayed) is undecayed]
            if group:
                torch._fused_adamw_(
                    [self.parameters[index] for index in group],
                    [gradient for index in group if (gradient := self.parameters[index].grad) is not None],
                    [self._means[index] for index in group],
                    [self._squares[index] for index in group],
                    [],
                    [counted[index] for index in group],
                    lr=lr,
                    beta1=self.betas[0],
                    beta2=self.betas[1],
                    weight_decay=0.0 if undecayed else self.weight_decay,
                    eps=EPSILON,
                    amsgrad=False,
                    maximize=False,
                )

    @property
    def tensors(self) -> list[Tensor]:
        """What a step by the fused kernel changes besides the parameters."""
        return [*self._means, *self._squares, *([self._counted] if self._counted is not None else [])]

    def state_dict(self) -> dict[str, Any]:
        """Steps taken and both means, in the parameters' order."""
        if self._counted is not None:
            self._steps = [int(steps) for steps in self._counted.tolist()]
        return {"steps": list(self._steps), "means": list(self._means), "squares": list(self._squares)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with these means. Raises ValueError where they are of other parameters."""
        means, squares, steps = list(state["means"]), list(state["squares"]), list(state["steps"])
        whole = zip(self.parameters, means, squares, steps, strict=True)
        if not all(parameter.shape == mean.shape == square.shape for parameter, mean, square, _ in whole):
            raise ValueError("the means are of other parameters")
        self._means, self._squares = (
            [each.to(parameter.device) for each, parameter in zip(values, self.parameters, strict=True)]
            for values in (means, squares)
        )
        self._steps, self._counted = steps, None
