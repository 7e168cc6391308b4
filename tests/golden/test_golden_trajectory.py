"""Every golden trajectory: 50 steps of the engine's own step in float64, with the batches of `trajectory/README.md`."""

import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from feature_trajectories import STORED, at_the_end, convert, converted, fix_draws, started, without_bias
from mapping import OTHER_NAMES, NotInThisVersion, component, distiller_for
from torch import Tensor, nn
from vectors import Vector, fill, vectors

from kdharness.core.errors import UnknownName
from kdharness.core.records import Recipe
from kdharness.core.types import BuildContext, Model, Outputs
from kdharness.distillers.registry import DISTILLERS
from kdharness.models.registry import MODELS
from kdharness.training import checkpoint
from kdharness.training.frozen import frozen_forward
from kdharness.training.inputs import Inputs
from kdharness.training.step import TrainingRun

STEPS, EPOCH, SIZE = 50, 5, (8, 3, 32, 32)
RECIPE = Recipe(epochs=10, batch_size=8, lr=0.02, milestones=(6, 8), weight_decay=5e-4, precision="fp64")
COMPARED = re.compile(
    r"loss_\w+|lr|state_\w+|eval_logits|logits_(student|teacher)_first|grad_\w+|optimizer_tensors_numel"
    r"|param/.+|adapter_keys|adapter_state_50|temperature|lambda|global_T_end" + STORED
)
CASES = vectors("trajectory")
ANSWERS: dict[tuple[Any, ...], Outputs] = {}


class Trajectory:
    """One entry of a manifest, set up as its README says, and the run of it."""

    def __init__(self, vector: Vector) -> None:
        self.vector, self.classes = vector, int(vector.entry["classes"])
        self.want = vector.arrays()
        self.distiller, self.constants = distiller_for(vector.method, vector.hyper, trajectory=True)

    def run(self) -> TrainingRun:
        """Networks, adapters and optimizer of before the first step."""
        entry, method = self.vector.entry, DISTILLERS.get(self.distiller)
        distiller = method(method.Config(**self.constants))
        student = self._filled(entry["student"])
        teacher = None
        if distiller.needs.teacher == "weights":
            teacher = self._filled(entry["teacher"])
            statistics = np.load(self.vector.folder / f"teacher__{entry['teacher']}_c{self.classes}.npz")
            teacher.load_state_dict({key: torch.from_numpy(statistics[key]) for key in statistics}, strict=False)
        context = BuildContext(self.classes, 80, SIZE[1:], torch.arange(80) % self.classes)
        run = TrainingRun(student, teacher, distiller, RECIPE, context)
        run.adapters.load_state_dict(started(run, self.want))
        return run

    def train(self, run: TrainingRun, first: int = 0, last: int = STEPS) -> dict[str, Any]:
        """Steps `first`..`last` - 1; what the engine gives under the names of the file's arrays."""
        got: dict[str, Any] = {"loss_total": [], "lr": []}
        for k in range(first, last):
            inputs = self.inputs(k, run.needs.views)
            if k % EPOCH == 0:
                run.begin(len(run.phases), k // EPOCH + 1)
            if k == 0:
                got |= self.first_logits(run, inputs)
            if "temperature" in self.want:
                epoch = torch.tensor(run.epoch)
                got.setdefault("temperature", []).append(run.distiller.temperature(epoch).item())
                got.setdefault("lambda", []).append(run.distiller.multiplier(epoch).item())
            fix_draws(run, k, inputs.index)
            stepped = run.step(inputs, self.answer(run, inputs, k), k % EPOCH, k)
            got["loss_total"].append(stepped.loss.item())
            got["lr"].append(run.lr)
            parts: dict[str, float] = {}
            for term, value in stepped.terms.items():
                name = f"loss_{component(term)}"
                parts[name] = parts.get(name, 0.0) + run.weights[term] * value.item()
            for name, part in parts.items():
                got.setdefault(name, []).append(part)
            if k == 0:
                got |= first_gradients(run)
            if f"state_{k + 1:02}" in self.want:
                got[f"state_{k + 1:02}"] = table(run.student)
        got["state_keys"] = list(run.student.state_dict())
        tensors = run.optimizer.parameters
        got["optimizer_tensors_numel"] = (len(tensors), sum(tensor.numel() for tensor in tensors))
        if "adapter_keys" in self.want:
            # what the released code keeps outside its modules is compared by itself
            state = {key: value for key, value in run.adapters.state_dict().items() if key in self.want["adapter_keys"]}
            got["adapter_keys"] = list(state)
            got["adapter_state_50"] = table(state)
        if "global_T_end" in self.want:
            got["global_T_end"] = run.adapters.state_dict()["global_T"].numpy()
        for other, ours in OTHER_NAMES.items():
            got.setdefault(f"loss_{other}", got.get(f"loss_{ours}"))
        run.eval_mode()
        got["eval_logits"] = run.predict(images(999)).numpy()
        got |= at_the_end(run, self.want, lambda: run.student(images(999)).logits)
        run.train_mode()
        return converted(got, self.want) if self.distiller == "catkd" else got

    def inputs(self, k: int, views: int) -> Inputs:
        generator = np.random.default_rng([1234, k])
        weak = torch.from_numpy(generator.standard_normal(SIZE))
        labels = torch.from_numpy(generator.integers(0, self.classes, SIZE[0]))
        index = (torch.arange(SIZE[0]) + 8 * k) % 80
        return Inputs(weak, labels, index, images([4321, k]) if views == 2 else None)

    def answer(self, run: TrainingRun, inputs: Inputs, k: int) -> Outputs | None:
        """What a frozen teacher says to batch k, kept for the methods that read no more of it than logits."""
        if run.teacher is None or run.own_teacher or run.needs.teacher_stages or run.needs.views == 2:
            return None
        key = (str(self.vector.folder), self.vector.entry["teacher"], self.classes, k)
        if key not in ANSWERS:
            ANSWERS[key] = frozen_forward(run.teacher, inputs.images, "fp64").only(())
        return ANSWERS[key]

    def first_logits(self, run: TrainingRun, inputs: Inputs) -> dict[str, Any]:
        """The logits of batch 0 before any update; the students' statistics are put back."""
        before = {key: value.clone() for key, value in run.student.state_dict().items()}
        with torch.no_grad():
            got = {"logits_student_first": self.logits(run.student(inputs.images), run.student)}
        run.student.load_state_dict(before)
        if run.teacher is not None and not run.own_teacher:
            got["logits_teacher_first"] = self.logits(frozen_forward(run.teacher, inputs.images, "fp64"), run.teacher)
        elif run.teacher is not None:
            got["logits_teacher_first"] = self.logits(deepcopy(run.teacher)(inputs.images), run.teacher)
        return got

    def logits(self, outputs: Outputs, network: Model) -> np.ndarray:
        logits = without_bias(outputs, network) if self.distiller == "catkd" else outputs.logits
        return logits.detach().numpy()

    def _filled(self, name: str) -> Model:
        network = MODELS.get(name).build(self.classes, SIZE[1:])
        fill(network)
        if self.distiller == "catkd" and name == self.vector.entry["student"]:
            convert(network)
        return network.double()


def images(seed: Any) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(SIZE))


def first_gradients(run: TrainingRun) -> dict[str, Any]:
    named = dict(run.student.named_parameters())
    norms = [parameter.grad.norm().item() if parameter.grad is not None else 0.0 for parameter in named.values()]
    absent = [parameter.grad is None for parameter in named.values()]
    return {"grad_keys": list(named), "grad_l2_first": norms, "grad_is_none_first": absent}


def table(module: nn.Module | Mapping[str, Tensor]) -> np.ndarray:
    """One row per key: sum, sum of absolutes, L2 norm and the first 8 values."""
    state = module.state_dict() if isinstance(module, nn.Module) else module
    rows = np.zeros((len(state), 11))
    for row, value in zip(rows, state.values(), strict=True):
        flat = value.double().flatten().numpy()
        row[:3] = flat.sum(), np.abs(flat).sum(), np.sqrt((flat**2).sum())
        row[3 : 3 + min(8, flat.size)] = flat[:8]
    return rows


def difference(name: str, got: Any, want: np.ndarray) -> float:
    """As section 2 of the README compares: keys, counters and absences exactly, numbers relative to their scale."""
    if want.dtype.kind in "Ub" or name == "optimizer_tensors_numel":
        return 0.0 if np.asarray(got).tolist() == want.tolist() else float("inf")
    got, want = np.asarray(got, np.float64), want.astype(np.float64)
    assert got.shape == want.shape, f"{name}: {got.shape} instead of {want.shape}"
    if name.startswith(("state_", "adapter_state_")):
        scale = np.abs(want).max(axis=1)
        return float((np.abs(got - want).max(axis=1) / np.where(scale > 0, scale, 1)).max())
    if name.startswith(("loss_", "lr", "lambda", "temperature")):
        return float((np.abs(got - want) / np.where(want == 0, 1, np.abs(want))).max())
    return float(np.abs(got - want).max() / np.abs(want).max())


def opened(vector: Vector) -> Trajectory:
    try:
        for network in (vector.entry["student"], vector.entry["teacher"]):
            MODELS.canonical(network)
        return Trajectory(vector)
    except NotInThisVersion as missing:
        pytest.skip(str(missing))
    except UnknownName as missing:
        pytest.skip(f"{missing.what.split(',')[0]}: not in this version")


@pytest.mark.parametrize("vector", CASES)
def test_trajectory(vector: Vector, tmp_path: Path) -> None:
    trajectory = opened(vector)
    run = trajectory.run()
    if vector.name.endswith("_resume"):
        got = trajectory.train(run, last=5 * EPOCH)
        resumed = through_a_file(trajectory, run, tmp_path)
        got = joined(got, trajectory.train(resumed, first=5 * EPOCH))
    else:
        got = trajectory.train(run)

    compared = {name: value for name, value in trajectory.want.items() if not name.startswith("param/")}
    assert all(COMPARED.fullmatch(name) for name in compared), "an array that nobody compares"
    worst = {name: difference(name, got[name], value) for name, value in compared.items()}
    rtol = vector.entry["rtol"]
    assert max(worst.values()) <= rtol, "\n".join(f"{name}: {value:.1e}" for name, value in worst.items())


@pytest.mark.parametrize("vector", [case for case in CASES if case.id == "vanilla__resnet20_resnet8_c10"])
def test_a_trajectory_stopped_in_the_middle_of_an_epoch_is_the_same(vector: Vector, tmp_path: Path) -> None:
    trajectory = opened(vector)
    straight = trajectory.run()
    trajectory.train(straight, first=0, last=12)
    stopped = trajectory.run()
    trajectory.train(stopped, first=0, last=7)
    resumed = through_a_file(trajectory, stopped, tmp_path)
    trajectory.train(resumed, first=7, last=12)
    for module, other in ((straight.student, resumed.student), (straight.adapters, resumed.adapters)):
        for key, value in module.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), key


def through_a_file(trajectory: Trajectory, run: TrainingRun, folder: Path) -> TrainingRun:
    """The run saved, rebuilt from nothing and loaded."""
    sha256 = checkpoint.write(folder / "run.ckpt", run.state())
    rebuilt = trajectory.run()
    rebuilt.begin(len(rebuilt.phases), run.epoch)
    rebuilt.load(checkpoint.read(folder / "run.ckpt", sha256))
    return rebuilt


def joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    series = {
        name for name in first if isinstance(first[name], list) and name.startswith(("lr", "loss_", "temp", "lam"))
    }
    return first | second | {name: first[name] + second[name] for name in series}
