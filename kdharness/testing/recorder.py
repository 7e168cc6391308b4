"""A recorder of steps for a CPU, as strict as a CUDA graph: what the host reads or decides is recorded for good."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from kdharness.training.recording import Replay
from kdharness.training.watching import Watch

SHAPING = (torch.ops.aten.squeeze_.dim, torch.ops.aten.unsqueeze_.default, torch.ops.aten.t_.default)
"""They change nothing but a tensor's shape."""
Operation = tuple[Any, Any, Any, list[Any]]
"""Function, both kinds of arguments, and the new tensors among what it gave."""


class StrictRecorder:
    """Replays the very operations into the very tensors; every number that is no tensor is as it was when recorded."""

    def __init__(self) -> None:
        self.recorded = 0
        """Branches that were recorded, over all recordings."""
        self.replayed = 0
        """Branches that were replayed."""

    def strict(self) -> AbstractContextManager[None]:
        """A CPU cannot tell."""
        return nullcontext()

    def wait(self) -> None:
        """A CPU is done."""

    def record(self, branches: Sequence[Callable[[], None]]) -> Replay:
        """What the branches do to what was there is undone. Raises RuntimeError where the host would wait."""
        each: list[list[Operation]] = []
        for branch in branches:
            recording = _Recording()
            try:
                with recording:
                    branch()
            finally:
                recording.undo()
            each.append(recording.operations)
        self.recorded += len(each)

        def replay(seeds: Sequence[int]) -> None:
            for seed, operations in zip(seeds, each, strict=True):
                torch.default_generator.manual_seed(seed)
                with torch.no_grad():
                    for operation in operations:
                        _again(*operation)
            self.replayed += len(each)

        return replay


class _Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not type it
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.operations: list[Operation] = []
        self._watch = Watch()
        self._made: set[int] = set()
        self._before: dict[int, tuple[Any, Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for each in _tensors((args, kwargs)):
            storage = each.untyped_storage()
            if storage._cdata not in self._made and storage._cdata not in self._before:
                self._before[storage._cdata] = storage, storage.clone()  # type: ignore[no-untyped-call]  # torch does not type it
        # others than those given: an operation may change the shape of a tensor in place
        held = tree_map(lambda each: each.detach() if isinstance(each, Tensor) else each, (args, kwargs))
        result = self._watch.__torch_dispatch__(func, types, args, kwargs)
        if self._watch.waits is not None:
            raise RuntimeError(f"the host would wait: {self._watch.waits}")
        given = {each.untyped_storage()._cdata for each in _tensors((args, kwargs))}
        outputs = [
            each.detach() if isinstance(each, Tensor) and each.untyped_storage()._cdata not in given else None
            for each in tree_leaves(result)
        ]
        made = {each.untyped_storage()._cdata for each in outputs if each is not None}
        self._made |= made - self._before.keys()
        is_view = not made and not func._schema.is_mutable and bool(outputs)
        if not is_view and func not in SHAPING:  # those stand
            self.operations.append((func, *held, outputs))
        return result

    def undo(self) -> None:
        for storage, value in self._before.values():
            storage.copy_(value)


def _again(func: Any, args: Any, kwargs: Any, outputs: list[Any]) -> None:
    result = func(*args, **kwargs)
    if len(outputs) == 1 and outputs[0] is not None:
        outputs[0].copy_(result[0] if isinstance(result, list | tuple) else result)
        return
    for held, value in zip(outputs, tree_leaves(result), strict=True):
        if held is not None:
            held.copy_(value)


def _tensors(values: Any) -> list[Tensor]:
    return [each for each in tree_leaves(values) if isinstance(each, Tensor)]
