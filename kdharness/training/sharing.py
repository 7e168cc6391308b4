"""What the members of a cohort have in common: frozen teachers, and in each round batches and teachers' answers.

Sharing never changes a number: whatever is shared is a function of its key alone.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import TypeVar, cast

from torch import Tensor

from kdharness.core.records import Precision, Teacher
from kdharness.core.streams import seeded
from kdharness.core.types import Model, Needs, Outputs
from kdharness.models.ensemble import Ensemble
from kdharness.models.registry import MODELS
from kdharness.training.data import Data, Point
from kdharness.training.frozen import FrozenForwards
from kdharness.training.inputs import Inputs, dtype_of, shrunk
from kdharness.training.recording import Recorder
from kdharness.training.table_filling import TabledTeacher, TeacherIdentity
from kdharness.training.table_shelf import TableShelf, limit_bytes
from kdharness.training.weights import weights_sha256

T = TypeVar("T")


def fresh(model: str, data: Data, image_size: int | None = None) -> Model:
    """A new network for this data, in its memory layout, initialised from the global generator."""
    network = MODELS.get(model).build(data.dataset.num_classes, data.image_shape(image_size))
    return network.to(memory_format=data.layout)


class Teachers:
    """Trained networks in eval mode, one for all members that name the same teacher at the same precision.

    Where the execution names a place for tables, they are asked about each view of an image once.
    """

    def __init__(self, data: Data, recorder: Recorder | None = None) -> None:
        self._data = data
        self._forward = FrozenForwards(data.device, recorder)
        self._loaded: dict[tuple[tuple[Teacher, ...], Precision, int | None], Model] = {}
        tables = data.execution.tables
        self._shelf = TableShelf(tables, limit_bytes()) if tables is not None else None
        self._identities: dict[int, TeacherIdentity] = {}
        self._tabled: dict[tuple[int, bool, int | None], TabledTeacher] = {}

    def round(self) -> "Round":
        """The next step of every member."""
        return Round(self._data, self._forward)

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
            if self._shelf is not None:
                self._identities[id(whole)] = TeacherIdentity(
                    tuple(f"{teacher.model} {teacher.revision}" for teacher in teachers),
                    tuple(weights_sha256(network.state_dict()) for network in each),
                )
            self._loaded[key] = whole.to(self._data.device, dtype_of(precision)).eval().requires_grad_(False)
        return self._loaded[key]

    def tabled(self, teacher: Model, needs: Needs, image_size: int | None) -> TabledTeacher | None:
        """A network of `get` with its tables, for methods that read its logits, or with them its pooled features.

        None for those that read its stages or put it in train mode, and where no tables are kept.
        """
        identity = self._identities.get(id(teacher))
        if identity is None or self._shelf is None or needs.teacher_stages or needs.teacher_mode == "train":
            return None
        key = (id(teacher), needs.teacher_pooled, image_size)
        if key not in self._tabled:
            self._tabled[key] = TabledTeacher(
                teacher,
                identity,
                self._data,
                self._shelf,
                self._forward,
                pooled=needs.teacher_pooled,
                image_size=image_size,
            )
        return self._tabled[key]

    def _untrained(self, teacher: Teacher, image_size: int | None) -> Model:
        with seeded("untrained teacher", 0):
            return fresh(teacher.model, self._data, image_size)


class Round:
    """One step of every member: what the first member at a point computes, the others at that point get."""

    def __init__(self, data: Data, forward: FrozenForwards) -> None:
        self._data, self._forward = data, forward
        self._made: dict[Hashable, object] = {}
        self._user = ""
        self._spent: dict[Hashable, float] = {}
        self._users: dict[Hashable, set[str]] = {}

    @contextmanager
    def for_user(self, name: str) -> Iterator[None]:
        """What is asked for inside, that member uses."""
        self._user = name
        yield

    def seconds(self, user: str) -> float:
        """The member's share of the time that was spent: what several use costs each of them the same."""
        return sum(spent / len(self._users[key]) for key, spent in self._spent.items() if user in self._users[key])

    def inputs(self, point: Point, second: Point | None = None) -> Inputs:
        """The batch at `point`, with the same images' second view at `second`."""
        inputs = self._once(point, lambda: self._data.inputs(point))
        if second is None:
            return inputs
        return replace(inputs, second_view=self._once(second, lambda: self._data.images(second)))

    def answer(
        self,
        teacher: Model,
        point: Point,
        second: Point | None,
        inputs: Inputs,
        image_size: int | None = None,
        tabled: TabledTeacher | None = None,
    ) -> Outputs:
        """The frozen teacher's outputs for the batch at `point` and its `second` view, shrunk to `image_size`.

        What `tabled` has, it says; but not where another member has had the teacher compute everything.
        """

        def once(images: Tensor) -> Outputs:
            at = point if second is None or images is inputs.images else second
            key = (at, id(teacher), image_size)
            if tabled is not None and key not in self._made:
                found = self._once((*key, id(tabled)), lambda: tabled.answer(at))
                if found is not None:
                    return found
            return self._once(key, lambda: self._forward(teacher, shrunk(images, image_size), point.precision))

        return inputs.through(once)

    def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._made:
            started = perf_counter()
            self._made[key] = make()
            self._spent[key] = perf_counter() - started
        self._users.setdefault(key, set()).add(self._user)
        return cast(T, self._made[key])
