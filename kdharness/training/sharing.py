"""What the members of a cohort have in common: frozen teachers, and in each round batches and teachers' answers.

Sharing never changes a number: whatever is shared is a function of its key alone.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar, cast

from torch import Tensor

from kdharness.core.records import Precision, Teacher
from kdharness.core.streams import seeded
from kdharness.core.types import Model, Outputs
from kdharness.models.ensemble import Ensemble
from kdharness.models.registry import MODELS
from kdharness.training.data import Data, Point
from kdharness.training.inputs import Inputs, dtype_of, frozen_forward, shrunk

T = TypeVar("T")


def fresh(model: str, data: Data, image_size: int | None = None) -> Model:
    """A new network for this data, in its memory layout, initialised from the global generator."""
    network = MODELS.get(model).build(data.dataset.num_classes, data.image_shape(image_size))
    return network.to(memory_format=data.layout)


class Teachers:
    """Trained networks in eval mode, one for all members that name the same teacher at the same precision."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._loaded: dict[tuple[tuple[Teacher, ...], Precision, int | None], Model] = {}

    def get(
        self,
        teachers: tuple[Teacher, ...],
        weights: Sequence[Mapping[str, Tensor]],
        precision: Precision,
        image_size: int | None = None,
    ) -> Model:
        """The network for images of that size (None: the dataset's); several teachers as one ensemble.

        Without weights they are untrained, the same in every run.
        """
        key = (teachers, precision, image_size)
        if key not in self._loaded:
            each = [self._untrained(teacher, image_size) for teacher in teachers]
            for network, trained in zip(each, weights, strict=False):
                network.load_state_dict(trained)
            whole = each[0] if len(each) == 1 else Ensemble(each)
            self._loaded[key] = whole.to(self._data.device, dtype_of(precision)).eval().requires_grad_(False)
        return self._loaded[key]

    def _untrained(self, teacher: Teacher, image_size: int | None) -> Model:
        with seeded("untrained teacher", 0):
            return fresh(teacher.model, self._data, image_size)


class Round:
    """One step of every member: what the first member at a point computes, the others at that point get."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._made: dict[Hashable, object] = {}

    def inputs(self, point: Point, second: Point | None = None) -> Inputs:
        """The batch at `point`, with the same images' second view at `second`."""
        inputs = self._once(point, lambda: self._data.inputs(point))
        if second is None:
            return inputs
        return replace(inputs, second_view=self._once(second, lambda: self._data.images(second)))

    def answer(
        self, teacher: Model, point: Point, second: Point | None, inputs: Inputs, image_size: int | None = None
    ) -> Outputs:
        """The frozen teacher's outputs for the batch at `point` and its `second` view, shrunk to `image_size`."""

        def once(images: Tensor) -> Outputs:
            key = (point if images is inputs.images else second, id(teacher), image_size)
            return self._once(key, lambda: frozen_forward(teacher, shrunk(images, image_size), point.precision))

        return inputs.through(once)

    def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._made:
            self._made[key] = make()
        return cast(T, self._made[key])
