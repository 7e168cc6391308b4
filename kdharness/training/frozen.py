"""The forward pass of a network that is not trained: a teacher in eval mode, or a peer while another learns from it.

On a device that records, a teacher's is recorded once for each form of batch and replayed from then on.
"""

import logging
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from kdharness.core.records import Precision
from kdharness.core.types import Model, Outputs
from kdharness.training.inputs import forward, layout_of, set_products
from kdharness.training.recording import Recorder, Replay

SMALLEST_TEACHER_BATCH = 16
"""Below this many rows a network's outputs for one image depend on how many images stand beside it."""
FIRST_FORWARDS = 2
"""Taken operation by operation: the library chooses its kernels in them."""

log = logging.getLogger(__name__)


@torch.no_grad()
def frozen_forward(model: Model, images: Tensor, precision: Precision) -> Outputs:
    """The outputs of a network in eval mode, without gradient: small batches are padded with repeats and cut."""
    rows = len(images)
    if rows >= SMALLEST_TEACHER_BATCH:
        return forward(model, images, precision)
    repeated = torch.arange(SMALLEST_TEACHER_BATCH, device=images.device) % rows
    padded = images[repeated].contiguous(memory_format=layout_of(images))
    return forward(model, padded, precision).each(lambda value: value[:rows])


@dataclass(frozen=True)
class _Recording:
    images: Tensor
    """What it reads."""
    outputs: Outputs
    """What it writes."""
    replay: Replay


class FrozenForwards:
    """Forward passes of the teachers of one job; without a recorder each is taken operation by operation."""

    def __init__(self, device: torch.device, recorder: Recorder | None = None) -> None:
        self._device, self._recorder = device, recorder
        self._met: dict[Hashable, int] = {}
        self._recordings: dict[Hashable, _Recording | None] = {}

    def __call__(self, network: Model, images: Tensor, precision: Precision) -> Outputs:
        """What `frozen_forward` gives, in tensors that no later call writes to; `network` must live as long as this."""
        set_products(precision, self._device)  # whatever the one before has left
        if self._recorder is None:
            return frozen_forward(network, images, precision)
        form = id(network), precision, tuple(images.shape), images.dtype, images.stride()
        self._met[form] = self._met.get(form, 0) + 1
        if self._met[form] <= FIRST_FORWARDS:
            return frozen_forward(network, images, precision)
        if form not in self._recordings:
            self._recordings[form] = self._recorded(self._recorder, network, images, precision)
        recording = self._recordings[form]
        if recording is None:
            return frozen_forward(network, images, precision)
        recording.images.copy_(images)
        recording.replay([0])  # in eval mode nothing draws
        return recording.outputs.each(Tensor.clone)

    def _recorded(self, recorder: Recorder, network: Model, images: Tensor, precision: Precision) -> _Recording | None:
        held, made = images.clone(), []
        try:
            replay = recorder.record([lambda: made.append(frozen_forward(network, held, precision))])
        except Exception as error:  # noqa: BLE001  whatever a device refuses is why it is not recorded
            said = f"{type(error).__name__}: {error}"
            log.info("the teacher's forward passes are taken operation by operation, not replayed: %s", said)
            return None
        return _Recording(held, made[0], replay)
