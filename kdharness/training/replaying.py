"""The steps of a cohort: taken one operation after another, or recorded once for each kind and replayed from then on.

A step is the same operations on the same tensors, whatever the epoch: inputs are copied to where the recording reads
them, learning rate, term weights, epoch and step lie on the device, and generators are seeded before each replay. The
first two steps of a kind are taken operation by operation: they make what only a first step makes. Between them the
step is rehearsed: a method whose operations change with what is drawn, or that waits for the device, is not recorded,
and its run's log says why.
"""

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from torch import Tensor

from kdharness.core.streams import stream_seed
from kdharness.training.course import Course, Meal
from kdharness.training.inputs import Inputs
from kdharness.training.recording import Recorder, Replay
from kdharness.training.sharing import Round
from kdharness.training.watching import Watch, why_not_recorded

REHEARSALS = 3
MOST_RECORDINGS = 16
"""Kept of a cohort: a kind for each set of active terms, phase and size of batch."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """A course's step: its share of the time, and what went wrong."""

    course: Course
    seconds: float
    error: Exception | None = None


@dataclass(frozen=True)
class _Recording:
    replay: Replay
    inputs: Sequence[Tensor]
    """What it reads, each once."""
    summed: Sequence[tuple[str, ...]]
    """Per branch the names of what it adds to its course's sums."""


class Stepper:
    """Takes the steps of the courses of one cohort."""

    def __init__(self, recorder: Recorder | None) -> None:
        """Without a recorder (a CPU has none) every step is taken operation by operation."""
        self._recorder = recorder
        self._met: dict[Hashable, int] = {}
        self._refused: set[str] = set()
        self._recordings: dict[Hashable, _Recording] = {}

    def steps(self, courses: Sequence[Course], shared: Round) -> Iterator[Taken]:
        """One step of every course that is not done. Those that are replayed go first, at once."""
        meals: list[tuple[Course, Meal]] = []
        together: list[tuple[Course, Meal]] = []
        for course in courses:
            if course.done:
                yield Taken(course, 0.0)
                continue
            try:
                with shared.for_user(course.run_id):
                    meal = course.fed(shared)
            except Exception as error:  # noqa: BLE001  a teacher's or a method's code may raise anything
                yield Taken(course, 0.0, error)
            else:
                known = self._is_known(course, meal)
                (together if known else meals).append((course, meal))
        if together:
            yield from self._replayed(together, shared)
        for course, meal in meals:
            yield self._taken(course, meal, shared)

    def _taken(self, course: Course, meal: Meal, shared: Round) -> Taken:
        """Operation by operation."""
        started = perf_counter()
        error = None
        try:
            self._meet(course, meal)
            course.prepare(meal)
            course.work(meal)
        except Exception as raised:  # noqa: BLE001  as above
            error = raised
        return Taken(course, perf_counter() - started + shared.seconds(course.run_id), error)

    def _meet(self, course: Course, meal: Meal) -> None:
        """Count the kinds of steps; one that is met again is rehearsed before it is taken."""
        if self._recorder is None or course.run_id in self._refused:
            return
        kind = _kind(course, meal)
        self._met[kind] = self._met.get(kind, 0) + 1
        if self._met[kind] == 2:
            why = self._rehearsed(course, meal, self._recorder)
            if why is not None:
                self._refuse(course, why)

    def _rehearsed(self, course: Course, meal: Meal, recorder: Recorder) -> str | None:
        """Why steps like this one cannot be recorded; all that they have moved is put back.

        Not the step itself is watched: that could move its last bits, as autograd adds in place only what nobody holds.
        """
        moved = course.tensors()
        before = [each.clone() for each in moved]
        watches: list[Watch] = []
        try:
            for number in range(REHEARSALS):
                course.reseed(stream_seed("rehearsal", number))
                with recorder.strict(), Watch() as watch:
                    course.work(meal)
                watches.append(watch)
        except Exception as error:  # noqa: BLE001  whatever the device or the method says against it
            return f"a rehearsal fails ({type(error).__name__}: {error})"
        finally:
            for each, value in zip(moved, before, strict=True):
                each.copy_(value)
        reasons = [why_not_recorded(watches[0], watch) for watch in watches]
        return next((why for why in reasons if why is not None), None)

    def _is_known(self, course: Course, meal: Meal) -> bool:
        if self._recorder is None or course.run_id in self._refused:
            return False
        return self._met.get(_kind(course, meal), 0) >= 2

    def _refuse(self, course: Course, why: str) -> None:
        self._refused.add(course.run_id)
        message = "its steps are taken operation by operation, not replayed: %s"
        log.info(message, why, extra={"run_id": course.run_id})

    def _replayed(self, together: Sequence[tuple[Course, Meal]], shared: Round) -> Iterator[Taken]:
        """All of them at once, or one by one where they cannot be recorded after all."""
        started = perf_counter()
        recording, error = None, None
        try:
            for course, meal in together:
                course.prepare(meal)
            recording = self._fed(together)
            if recording is not None:
                self._replay(recording, [course for course, _ in together])
        except Exception as raised:  # noqa: BLE001  the device itself has failed
            error = raised
        if recording is None and error is None:
            for course, meal in together:
                yield self._taken(course, meal, shared)
            return
        seconds = (perf_counter() - started) / len(together)
        for course, _ in together:
            yield Taken(course, seconds + shared.seconds(course.run_id), error)

    def _fed(self, together: Sequence[tuple[Course, Meal]]) -> _Recording | None:
        """Their recording, about to read these inputs; made where there is none yet, None where that fails."""
        tensors = [tensor for _, meal in together for tensor in _tensors(meal)]
        each = {id(tensor): tensor for tensor in tensors}
        places = {one: place for place, one in enumerate(each)}
        key = tuple(_kind(*both) for both in together), tuple(places[id(tensor)] for tensor in tensors)
        recording = self._recordings.pop(key, None)
        if recording is None:
            recording = self._recorded(together, list(each.values()))
        else:
            for held, fresh in zip(recording.inputs, each.values(), strict=True):
                held.copy_(fresh)
        if recording is not None:
            self._recordings[key] = recording  # the last used is the last dropped
            while len(self._recordings) > MOST_RECORDINGS:
                del self._recordings[next(iter(self._recordings))]
        return recording

    def _replay(self, recording: _Recording, courses: Sequence[Course]) -> None:
        assert self._recorder is not None
        recording.replay([course.seed_now for course in courses])
        for course, names in zip(courses, recording.summed, strict=True):
            course.count(names)
        if any(course.ends_epoch for course in courses):
            self._recorder.wait()  # all have worked for it, not only the first that reads

    def _recorded(self, together: Sequence[tuple[Course, Meal]], inputs: Sequence[Tensor]) -> _Recording | None:
        """None where that fails: whoever cannot be recorded alone is refused, or else all, who cannot side by side."""
        assert self._recorder is not None
        held = {id(tensor): tensor.clone() for tensor in inputs}
        branches = [partial(course.work, _each(meal, lambda tensor: held[id(tensor)])) for course, meal in together]
        try:
            replay = self._recorder.record(branches)
        except Exception as error:  # noqa: BLE001  whatever a device refuses is why it is not recorded
            failed = {}
            for (course, _), branch in zip(together, branches, strict=True):
                try:
                    self._recorder.record([branch])
                except Exception as alone:  # noqa: BLE001  as above
                    failed[course] = alone
            for course, why in (failed or {course: error for course, _ in together}).items():
                self._refuse(course, f"recording it fails ({type(why).__name__}: {why})")
            return None
        return _Recording(replay, list(held.values()), [course.summed for course, _ in together])


def _kind(course: Course, meal: Meal) -> Hashable:
    forms = tuple((tuple(each.shape), each.dtype, each.stride()) for each in _tensors(meal))
    return course.run_id, course.kind, forms


def _tensors(meal: Meal) -> list[Tensor]:
    """All that it holds, in one order."""
    found: list[Tensor] = []
    _each(meal, lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
    return found


def _each(meal: Meal, change: Callable[[Tensor], Tensor]) -> Meal:
    inputs = meal.inputs
    return Meal(
        Inputs(
            change(inputs.images),
            change(inputs.labels),
            change(inputs.index),
            change(inputs.second_view) if inputs.second_view is not None else None,
        ),
        meal.answer.each(change) if meal.answer is not None else None,
    )
