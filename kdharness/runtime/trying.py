"""A first look at a distiller: the laws that all keep, then fifty steps on the digits, in seconds."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from time import perf_counter

import torch
from torch import Tensor

from kdharness.core.plugins import place_in_plugin
from kdharness.core.records import Execution, Recipe
from kdharness.core.streams import seeded
from kdharness.core.types import Distiller, Model
from kdharness.datasets.digits import Digits
from kdharness.distillers import sums
from kdharness.distillers.none import NoDistillation
from kdharness.testing.distiller import DISTILLER_CHECKS
from kdharness.testing.expect import expect, expect_finite
from kdharness.training.data import Data, Point
from kdharness.training.inputs import Inputs
from kdharness.training.sharing import Teachers, fresh
from kdharness.training.step import TrainingRun

STUDENT, TEACHER = "resnet8", "resnet20"
RECIPE = Recipe(epochs=30, batch_size=64, lr=0.05, augment="shift1", precision="fp32", record=("gradients",))
EPOCH = 23
"""Batches of 64 in the 1,438 digits."""
STEPS, PLAIN_STEPS, TEACHER_STEPS, PHASE_STEPS = 50, 20, 3 * EPOCH, 5
ENDS, WARMING = 5, 3
"""Steps at either end over which a mean is taken; steps at the start that are not timed."""
RIGHT = "right, in percent"
"""Stands beside the terms, which are identifiers."""


@dataclass(frozen=True)
class Term:
    """One loss term over the steps, without its weight where nothing else is said."""

    name: str
    weight: float
    """In the first epoch."""
    first: float
    last: float
    """Means over the steps at either end."""
    gradient: float
    """L2 norm of the weighted term's gradient in the student, at the start of the last epoch begun."""


@dataclass(frozen=True)
class Course:
    """What some steps were like: on this machine, at this moment."""

    terms: tuple[Term, ...]
    top1: tuple[float, float]
    """Of the batches at either end, in percent."""
    adapter_parameters: int
    step_ms: float
    """Median of the steps after the first three."""
    kept_mib: float
    """What a step keeps for its gradient besides parameters."""


@dataclass(frozen=True)
class Tried:
    """What became of it."""

    distiller: str
    paper: str
    laws: tuple[str, ...]
    """The names of those that were checked."""
    broken: Mapping[str, str]
    """Law, or `steps` -> what is wrong."""
    course: Course | None
    """None where the steps could not be taken."""
    plain: Course
    """The same student without a teacher."""
    teacher_top1: float | None
    """Of the last batches that the teacher learned from, in percent; None where its weights are not used."""
    device: str


def try_distiller(name: str) -> Tried:
    """Check the laws and train fifty steps: a resnet8 on the digits, taught by a resnet20 after three epochs.

    Three epochs take two seconds and make a teacher whose logits have the size they have in earnest. Whatever the
    method's own code raises is told in `broken`. A sum of methods is tried like one. Raises UnknownName, and BadInput
    for a sum that cannot be meant.
    """
    name = sums.canonical_method(name)
    method = sums.method(name)
    execution = Execution(device="cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(execution.threads)
    data = Data(Digits(Path()), execution)
    broken: dict[str, str] = {}
    for check in DISTILLER_CHECKS:
        law = check.__name__.removeprefix("check_")
        with _told(broken, law):
            check(method, None)

    teacher, teacher_top1 = None, None
    with _told(broken, "steps"):
        if method(method.Config()).needs.teacher == "weights":
            taught, teacher = _trained(data, NoDistillation, TEACHER, None, TEACHER_STEPS)
            teacher_top1 = taught.top1[1]
    plain, _ = _trained(data, NoDistillation, STUDENT, None, PLAIN_STEPS)
    course = None
    if "steps" not in broken:
        with _told(broken, "steps"):
            course, _ = _trained(data, method, STUDENT, teacher, STEPS)
    laws = tuple(check.__name__.removeprefix("check_") for check in DISTILLER_CHECKS)
    return Tried(name, method.paper, laws, broken, course, plain, teacher_top1, execution.device)


@contextmanager
def _told(broken: dict[str, str], what: str) -> Iterator[None]:
    """An exception inside becomes a line of `broken`."""
    try:
        yield
    except AssertionError as error:
        broken[what] = str(error)
    except Exception as error:  # noqa: BLE001  an outsider's method may raise anything; it is told, not ours
        place = place_in_plugin(error)
        broken[what] = f"{type(error).__name__}: {error}" + (f" ({place})" if place else "")


def _trained(
    data: Data, method: type[Distiller], student: str, teacher: Model | None, steps: int
) -> tuple[Course, Model]:
    """Some steps of the engine's own, with a few of each phase before. Raises AssertionError where they are unsound."""
    distiller = method(method.Config())
    needs = distiller.needs
    with seeded("student", 0):
        network = fresh(student, data)
    with seeded("peer", 0):
        other = fresh(TEACHER, data) if needs.peer else teacher if needs.teacher == "weights" else None
    run = TrainingRun(network, other, distiller, RECIPE, data.context(0.0, needs.train_labels), device=data.device)
    begun = _learned(run)
    still = [tensor.clone() for tensor in _still(run)]

    def batch(position: int) -> Inputs:
        point = Point(0.0, RECIPE.augment, RECIPE.precision, RECIPE.batch_size, 0, run.draw_epoch, position)
        return Teachers(data).round().inputs(point, point.second(RECIPE) if needs.views == 2 else None)

    for number, phase in enumerate(run.phases):
        run.begin(number, 1)
        for position in range(PHASE_STEPS):
            learned = run.step(batch(position), None, position, position).loss
            expect_finite(learned, f"the loss of phase {phase.name} is {learned.item()} at step {position + 1}")
    seconds: list[float] = []
    seen: dict[str, list[float]] = {}
    gradients: Mapping[str, Tensor] = {}
    for step in range(steps):
        position = step % EPOCH
        if position == 0:
            run.begin(len(run.phases), step // EPOCH + 1)
        inputs = batch(position)
        started = perf_counter()
        stepped = run.step(inputs, None, position, step)
        loss = stepped.loss.item()  # waits for the device
        seconds.append(perf_counter() - started)
        expect_finite(stepped.loss, f"the loss is {loss} at step {step + 1}")
        for term, value in stepped.terms.items():
            seen.setdefault(term, []).append(value.item())
        seen.setdefault(RIGHT, []).append(100 * stepped.correct.item() / len(inputs.labels))
        gradients = stepped.gradients or gradients
    kept = _kept(run, batch(1))

    for name, values in _learned(run).items():
        expect_finite(values, f"{name} is not finite after {steps} steps")
        expect(not torch.equal(values, begun[name]), f"{name} is as it was after {steps} steps")
    moved = any(not torch.equal(now, then) for now, then in zip(_still(run), still, strict=True))
    expect(not moved, "a weight or a running statistic of the teacher was changed")
    ends = {name: (fmean(values[:ENDS]), fmean(values[-ENDS:])) for name, values in seen.items()}
    top1 = ends.pop(RIGHT)
    weights = distiller.weights(1)
    terms = tuple(Term(name, weights[name], *ends[name], gradients[name].item()) for name in ends)
    adapters = sum(parameter.numel() for parameter in run.adapters.parameters())
    return Course(terms, top1, adapters, 1000 * median(seconds[WARMING:]), kept / 2**20), run.student


def _learned(run: TrainingRun) -> dict[str, Tensor]:
    """Copies of the student's weights as one, and of each trained parameter of the adapters."""
    student = torch.cat([parameter.detach().flatten() for parameter in run.student.parameters()])
    adapters = {f"adapter {name}": value for name, value in run.adapters.named_parameters() if value.requires_grad}
    return {"the student": student, **{name: value.detach().clone() for name, value in adapters.items()}}


def _still(run: TrainingRun) -> list[Tensor]:
    """What nobody may change: a frozen teacher."""
    return [] if run.teacher is None or run.own_teacher else list(run.teacher.state_dict().values())


def _kept(run: TrainingRun, inputs: Inputs) -> int:
    """Bytes that one step keeps for its gradient, parameters aside."""
    networks = [run.student, run.adapters, *(each for each in (run.teacher, run.peer) if each is not None)]
    parameters = {parameter.data_ptr() for network in networks for parameter in network.parameters()}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run.step(inputs, None, 1, STEPS)
    return sum(sizes.values())


def render(tried: Tried) -> str:
    """What became of it, in a few lines."""
    lines = [f"{tried.distiller}: {tried.paper}", ""]
    kept = [law for law in tried.laws if law not in tried.broken]
    lines.append(f"laws kept {len(kept)} of {len(tried.laws)}: {', '.join(kept)}")
    lines += [f"FAILED {name}: {message}" for name, message in tried.broken.items()]
    course, plain = tried.course, tried.plain
    if course is None:
        return "\n".join(lines)
    taught = f", taught by {TEACHER} (train top-1 {tried.teacher_top1:.0f} %)" if tried.teacher_top1 is not None else ""
    lines += [
        "",
        f"{STEPS} steps of {STUDENT} on digits, {tried.device}{taught}",
        f"{'term':<14}{'weight':>10}{'first':>12}{'last':>12}{'gradient':>12}",
    ]
    for term in course.terms:
        lines.append(f"{term.name:<14}{term.weight:>10.4g}{term.first:>12.4g}{term.last:>12.4g}{term.gradient:>12.4g}")
    lines += [
        "",
        f"train top-1   {course.top1[0]:.0f} % -> {course.top1[1]:.0f} %",
        f"step          {course.step_ms:.1f} ms (untaught {plain.step_ms:.1f} ms)",
        f"memory        {course.kept_mib:.1f} MiB kept for the gradient (untaught {plain.kept_mib:.1f} MiB)",
        f"adapters      {course.adapter_parameters:,} parameters",
    ]
    return "\n".join(lines)
