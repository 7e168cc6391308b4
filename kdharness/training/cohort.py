"""The one training loop: runs trained side by side in one job, each with its own place in its own training."""

from collections.abc import Sequence

import torch

from kdharness.core.errors import LeaseLost
from kdharness.core.records import Execution
from kdharness.core.types import Dataset
from kdharness.training.course import Course
from kdharness.training.cuda_graphs import recorder_of
from kdharness.training.data import Data
from kdharness.training.members import Diverged, EpochEnd, Finished, Member, Sink
from kdharness.training.replaying import Stepper
from kdharness.training.sharing import Teachers

__all__ = ["Diverged", "EpochEnd", "Finished", "Member", "Sink", "train_cohort"]


def train_cohort(members: Sequence[Member], dataset: Dataset, execution: Execution, sink: Sink) -> None:
    """Train all members, one step each in turn; a member's numbers do not depend on the others.

    Batches and the outputs of a shared teacher are computed once for members at the same point. Those that are ahead
    (the others have a phase before their main epochs, or were stopped earlier) wait for the others. Returns when every
    member is finished, failed or dropped, or when the sink asks to stop. Whatever a call of the sink raises goes to
    the caller, but LeaseLost: it drops that member.
    """
    torch.set_num_threads(execution.threads)
    data = Data(dataset, execution)
    recorder = recorder_of(data.device) if execution.graphs else None
    teachers, stepper = Teachers(data, recorder), Stepper(recorder)

    courses: list[Course] = []
    for member in members:
        try:
            courses.append(Course(member, data, teachers))
        except Exception as error:  # noqa: BLE001  a method's code may raise anything; the other members go on
            _tell_failed(sink, member.run_id, error)

    while courses:
        shared = teachers.round()
        behind = min(course.place for course in courses)
        for taken in stepper.steps([course for course in courses if course.place == behind], shared):
            course = taken.course
            try:
                if taken.error is not None:
                    raise taken.error
                end = course.passed(taken.seconds) if not course.done else None
                result = course.finish() if course.done else None
            except Exception as error:  # noqa: BLE001  as above
                courses.remove(course)
                _tell_failed(sink, course.run_id, error)
                continue

            try:
                if end is not None:
                    sink.epoch_end(course.run_id, end)
                elif result is None and sink.checkpoint_due(course.run_id):
                    sink.epoch_end(course.run_id, course.end())
                if result is not None:
                    courses.remove(course)
                    sink.finished(course.run_id, result)
            except LeaseLost:
                courses = [other for other in courses if other is not course]

            if sink.stop_requested():
                _stop(courses, sink)
                return


def _stop(courses: Sequence[Course], sink: Sink) -> None:
    for course in courses:
        try:
            sink.epoch_end(course.run_id, course.end())
        except LeaseLost:
            continue  # its new owner has it


def _tell_failed(sink: Sink, run_id: str, error: Exception) -> None:
    try:
        sink.failed(run_id, error)
    except LeaseLost:
        return  # its new owner will find out by itself
