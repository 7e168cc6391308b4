"""What the members of a cohort have in common: frozen teachers, and in each round batches and teachers' answers.

Sharing never changes a number: whatever is shared is a function of its key alone.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import TypeVar, cast

from torch import Tensor

from kdharness.core.records import Precision, Teacher
from kdharness.core.types import Model, Outputs
from kdharness.models.registry import MODELS
from kdharness.training.data import SECOND_VIEW, Data, Point
from kdharness.training.inputs import Inputs, dtype_of, frozen_forward

T = TypeVar("T")


def fresh(model: str, data: Data) -> Model:
    """A new network for this data, in its memory layout, initialised from the global generator."""
    network = MODELS.get(model).build(data.dataset.num_classes, data.dataset.image_shape)
    return network.to(memory_format=data.layout)


class Teachers:
    """Trained networks in eval mode, one for all members that name the same teacher at the same precision."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._loaded: dict[tuple[Teacher, Precision], Model] = {}

    def get(self, teacher: Teacher, weights: Mapping[str, Tensor], precision: Precision) -> Model:
        key = (teacher, precision)
        if key not in self._loaded:
            network = fresh(teacher.model, self._data)
            network.load_state_dict(weights)
            network.to(self._data.device, dtype_of(precision)).eval().requires_grad_(False)
            self._loaded[key] = network
        return self._loaded[key]


class Round:
    """One step of every member: what the first member at a point computes, the others at that point get."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._made: dict[Hashable, object] = {}

    def inputs(self, point: Point, views: int) -> Inputs:
        """The batch at `point`; with two views the second is drawn from a stream of its own."""
        inputs = self._once(point, lambda: self._data.inputs(point))
        if views == 1:
            return inputs
        second = self._once((point, SECOND_VIEW), lambda: self._data.images(point, self._data.rows(point), SECOND_VIEW))
        return replace(inputs, second_view=second)

    def answer(self, teacher: Model, point: Point, inputs: Inputs) -> Outputs:
        """The frozen teacher's outputs for the batch at `point`, for each view of it."""

        def once(images: Tensor) -> Outputs:
            key = (point, id(teacher), images is inputs.images)
            return self._once(key, lambda: frozen_forward(teacher, images, point.precision))

        return inputs.through(once)

    def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._made:
            self._made[key] = make()
        return cast(T, self._made[key])
