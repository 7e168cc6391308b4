"""Running a part of a network again without moving its running statistics."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def kept_statistics(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, batch norms in train mode normalise by the batch and leave running means, variances and counters alone.

    Batch norms in eval mode go on using their running statistics.
    """
    moving = [
        norm
        for module in modules
        for norm in module.modules()
        if isinstance(norm, _BatchNorm) and norm.training and norm.track_running_stats
    ]
    for norm in moving:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in moving:
            norm.track_running_stats = True
