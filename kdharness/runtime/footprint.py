"""What a member of a cohort takes of its job's memory, so that no more are started side by side than fit."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kdharness.core.records import Setting
from kdharness.study.cost import size

if TYPE_CHECKING:
    from kdharness.core.types import Dataset

MEMBERS_BYTES = 4 << 30
"""For what all members of a job keep from step to step: a quarter of the smallest GPU that trains on ImageNet (16 GiB).
The rest is for the images, the teacher and the activations of one step: members take turns, they never add up."""
_BYTES_A_PARAMETER = 4 * 5
"""float32: weights, gradients, two moments of the optimizer (one for SGD, and adapters beside), a checkpoint's copy."""


def parts(settings: Iterable[Setting], dataset: "Dataset") -> dict[str, float]:
    """By student the part of `MEMBERS_BYTES` that one takes; 1 where a plug-in's network cannot be measured."""
    found: dict[str, float] = {}
    for setting in settings:
        if setting.student not in found:
            found[setting.student] = _part(setting, dataset)
    return found


def _part(setting: Setting, dataset: "Dataset") -> float:
    channels, height, width = dataset.image_shape
    side = setting.recipe.image_size
    shape = (channels, side or height, side or width)
    try:
        _, parameters = size(setting.student, dataset.num_classes, shape)
    except Exception:  # noqa: BLE001  an outsider's network may raise anything; its runs will say what
        return 1.0
    return parameters * _BYTES_A_PARAMETER / MEMBERS_BYTES
