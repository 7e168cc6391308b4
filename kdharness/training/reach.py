"""Which parameters a loss reaches, read off its graph: nothing but the graph is computed, and nothing stays moved."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn


def reached(values: Iterable[Tensor], among: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Those of `among` to which a backward pass of any of the values would give a gradient, be it 0."""
    waiting = [value.grad_fn for value in values if value.grad_fn is not None]
    seen = set(waiting)
    found: set[int] = set()
    while waiting:
        node = waiting.pop()
        leaf = getattr(node, "variable", None)  # of the nodes that end in a parameter
        if leaf is not None:
            found.add(id(leaf))
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return [parameter for parameter in among if id(parameter) in found]


@contextmanager
def unmoved(buffers: Iterable[Tensor]) -> Iterator[None]:
    """After it the buffers are as they were before."""
    held = [(buffer, buffer.clone()) for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in held:
            buffer.copy_(value)


def leave_zeros(parameters: Iterable[nn.Parameter]) -> None:
    """Give each that has no gradient one of zeros: it decays and keeps its momentum, as after 0 times a loss."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = parameter.new_zeros(parameter.shape)
