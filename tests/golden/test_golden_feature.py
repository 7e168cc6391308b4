"""Every feature vector of every manifest: unweighted loss, gradients and adapter buffers equal the authors'."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from mapping import NotInThisVersion, distiller_for
from torch import Tensor, nn
from vectors import Vector, close_to_scale, vectors

from kdharness.core.errors import IncompatiblePair
from kdharness.core.types import Batch, BuildContext, Distiller, Outputs
from kdharness.distillers.registry import DISTILLERS
from kdharness.distillers.reviewkd import hierarchical_context
from kdharness.models.resnet import ResNet

RTOL_64, RTOL_32 = 1e-6, 1e-4  # feature/README.md
Arrays = Mapping[str, np.ndarray]

PHASED = {"ab", "fsp"}
"""Methods that distil before the main epochs alone."""
WEIGHTED = {"rkd", "reviewkd"}
"""Methods whose stored loss has their weights in it (feature/README.md, section 3)."""
ROUNDING = ("kdsvd", "rkd__duplicate_row", "pkt__opposite", "catkd__student1_res2", "catkd__zero_student_norm")
"""Vectors whose gradient is rounding noise (section 5): only their losses are compared."""
POOLED = {"rkd", "pkt", "cc", "crd"}
"""Methods whose arrays are pooled features; the others' are stages in order, or the last one alone."""


@dataclass
class View:
    """The shapes of a vector's layers, as a distiller's `build` asks for them."""

    shapes: dict[str, tuple[int, ...]]
    batch_norms: dict[str, nn.BatchNorm2d] = field(default_factory=dict)
    layers: dict[str, list[nn.Module]] = field(default_factory=dict)
    classifier: nn.Linear = field(default_factory=lambda: nn.Linear(1, 1))


class Case:
    """One vector in one precision: its arrays as layers of a student and a teacher, and the distiller built on them."""

    def __init__(self, vector: Vector, dtype: torch.dtype) -> None:
        self.vector, self.dtype, self.arrays = vector, dtype, vector.arrays()
        hyper = vector.hyper
        if vector.method in WEIGHTED:
            hyper.pop("feat_weight", None)  # multiplies the stored loss
        self.name, self.constants = distiller_for(vector.method, hyper)
        self.constants |= FROM_SHAPES.get(self.name, lambda _: {})(self)
        method = DISTILLERS.get(self.name)
        self.distiller: Distiller = method(method.Config(**self.constants))
        doubled = dtype == torch.float64 and any(key.endswith("_f64") for key in self.arrays)
        self.suffix, self.rtol = ("_f64", RTOL_64) if doubled else ("", RTOL_32)
        self.student = self.given("s", requires_grad=True)
        self.teacher = self.given("t")
        self.rows = len(next(iter(self.student.values())))

    def tensor(self, key: str) -> Tensor:
        value = torch.from_numpy(np.asarray(self.arrays[key]))
        return value.to(self.dtype) if value.is_floating_point() else value

    def given(self, side: str, requires_grad: bool = False) -> dict[str, Tensor]:
        """The arrays `s0`, `s1`, ... in order."""
        keys = sorted(
            (key for key in self.arrays if key[0] == side and key[1:].isdigit()), key=lambda key: int(key[1:])
        )
        return {key: self.tensor(key).requires_grad_(requires_grad) for key in keys}

    def layers(self, side: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors by layer name."""
        if self.name == "fitnet":
            return {self.constants.get("layer", "stage2"): next(iter(values.values()))}
        if self.name in POOLED:
            return {"pooled": next(iter(values.values()))}
        form = FORMS.get(self.name, {}).get(side, "")
        layers = {f"stage{number}{form}": value for number, value in enumerate(values.values(), 1)}
        if self.name == "fsp":
            layers = {
                "stem" if number == 0 else f"stage{number}": value for number, value in enumerate(values.values())
            }
        if self.name == "reviewkd":
            layers["pooled"] = layers.popitem()[1]
        return layers

    def view(self, side: str, layers: Mapping[str, Tensor]) -> View:
        shapes = {name: tuple(value.shape[1:]) for name, value in layers.items()}
        pooled = next(reversed(shapes.values()))[:1]
        view = View(
            {name.removesuffix(".preact"): shape for name, shape in shapes.items()} | {"pooled": pooled} | shapes
        )
        for number in range(len(layers)):
            if side == "t" and f"bn{number}_weight" in self.arrays:
                norm = nn.BatchNorm2d(len(self.arrays[f"bn{number}_weight"]))
                norm.load_state_dict(
                    {"weight": self.tensor(f"bn{number}_weight"), "bias": self.tensor(f"bn{number}_bias")}, strict=False
                )
                view.batch_norms[f"stage{number + 1}"] = norm
        if side == "t" and "param/cls_t.weight" in self.arrays:
            view.classifier = nn.Linear(*self.arrays["param/cls_t.weight"].shape[::-1]).to(self.dtype)
            view.classifier.load_state_dict({key: self.tensor(f"param/cls_t.{key}") for key in ("weight", "bias")})
        elif self.name == "catkd":  # the arrays are class activation maps already
            view.classifier = nn.Linear(pooled[0], pooled[0]).to(self.dtype)
            nn.init.eye_(view.classifier.weight)
        return view

    def build(self) -> nn.Module:
        views = [
            self.view(side, self.layers(side, getattr(self, who))) for side, who in (("s", "student"), ("t", "teacher"))
        ]
        adapters = self.distiller.build(*views, BuildContext(10, 100, (3, 32, 32))).to(self.dtype)
        state = adapters.state_dict()
        for key in state:
            if f"param/{PREFIX.get(self.name, '')}{key}" in self.arrays:
                state[key] = self.tensor(f"param/{PREFIX.get(self.name, '')}{key}")
            else:
                START.get(self.name, no_start)(self, key, state)
        adapters.load_state_dict(state)
        return adapters.requires_grad_(True)

    def outputs(self, side: str, values: Mapping[str, Tensor]) -> Outputs:
        layers = self.layers(side, values)
        logits = torch.zeros(self.rows, 10, dtype=self.dtype)
        return Outputs(
            logits, layers.get("pooled", logits), {key: value for key, value in layers.items() if key != "pooled"}
        )

    def batch(self) -> Batch:
        labels = torch.zeros(self.rows, dtype=torch.int64)
        return Batch(labels, labels, labels, torch.tensor(1), torch.tensor(0), torch.Generator())

    def loss(self) -> Tensor:
        """What the file stores: the terms that distil, weighted where it says so."""
        if self.name in PHASED:
            return self.first_phase()
        terms = dict(
            self.distiller.losses(self.outputs("s", self.student), self.outputs("t", self.teacher), self.batch())
        )
        weights = self.distiller.weights(int(self.vector.hyper.get("epoch", 1)))
        del terms["ce"]
        if self.name == "simkd":
            del terms["kd"]
        return torch.stack(
            [value * (weights[term] if self.vector.method in WEIGHTED else 1) for term, value in terms.items()]
        ).sum()

    def first_phase(self) -> Tensor:
        phase, *_ = self.distiller.phases()
        sides = self.outputs("s", self.student), self.outputs("t", self.teacher)
        return torch.stack(list(phase.losses(*sides, self.batch()).values())).sum()

    def compare(self, loss: Tensor, adapters: nn.Module, step: str = "") -> None:
        """The loss, its gradients and what is left in the adapters' buffers; `step` is the arrays' number if many."""
        wanted = self.arrays[f"loss{step}{self.suffix}"]
        loss.backward()
        if not np.isfinite(wanted).all():
            assert torch.isfinite(loss)
            return
        close_to_scale(loss, wanted, self.rtol, 0.0)
        if self.vector.name.startswith(ROUNDING):
            return
        for key, value in self.student.items():
            want = self.arrays.get(f"grad_{key}{self.suffix}")
            if want is not None and np.isfinite(want).all():
                close_to_scale(gradient_of(value), want, self.rtol, 1e-12)
        prefix = PREFIX.get(self.name, "")
        gradients = {prefix + key: value for key, value in adapters.named_parameters()}
        buffers = {prefix + key: value for key, value in adapters.state_dict().items()}
        for key, want in self.arrays.items():
            part, _, name = key.partition("/")
            if part == f"grad_param{step}" and np.isfinite(want).all():
                close_to_scale(gradient_of(gradients[name]), want, RTOL_32, 1e-6)
            if part == f"buffer_after{step}":
                close_to_scale(buffers[name], want, RTOL_32, 0.0)
            if part.startswith("margin"):
                close_to_scale(buffers[part], want, RTOL_32, 0.0)


def gradient_of(value: Tensor) -> Tensor:
    return torch.zeros_like(value) if value.grad is None else value.grad


class Levels(Case):
    """A vector without a distiller around it."""

    def __init__(self, vector: Vector, dtype: torch.dtype) -> None:
        self.vector, self.dtype, self.arrays, self.name = vector, dtype, vector.arrays(), vector.method
        self.suffix, self.rtol = ("_f64", RTOL_64) if dtype == torch.float64 else ("", RTOL_32)
        self.student, self.teacher = self.given("s", requires_grad=True), self.given("t")


def no_start(case: Case, key: str, state: dict[str, Tensor]) -> None:
    raise AssertionError(f"{case.vector.name} gives no start for the adapters' {key}")


def identity(case: Case, key: str, state: dict[str, Tensor]) -> None:
    """A vector without parameters starts behind them: an embedding that hands its input on."""
    value = state[key]
    state[key] = torch.eye(*value.shape, dtype=value.dtype) if value.dim() == 2 else torch.zeros_like(value)


def as_built(case: Case, key: str, state: dict[str, Tensor]) -> None:
    """OFD's margins come from the batch norms that the file gives."""
    assert key.startswith("margin"), key


START: Mapping[str, Callable[[Case, str, dict[str, Tensor]], None]] = {"cc": identity, "ofd": as_built}
"""How an adapter's tensor starts that the file does not give."""
PREFIX: Mapping[str, str] = {"simkd": "simkd."}
"""What stands before the adapters' names in the files."""
PREACT = {"s": ".preact", "t": ".preact"}
FORMS: Mapping[str, Mapping[str, str]] = {"ofd": PREACT, "ab": PREACT, "reviewkd": {"t": ".preact"}}
"""Which of a stage's maps the arrays are."""
FROM_SHAPES: Mapping[str, Callable[[Case], dict[str, Any]]] = {
    "cc": lambda case: {"dimension": dimension_of(case)},
}
"""Constants that the arrays' shapes tell."""


def dimension_of(case: Case) -> int:
    key = "param/embed_s.linear.weight"
    return int(case.arrays[key].shape[0] if key in case.arrays else case.arrays["s0"].shape[1])


def opened(vector: Vector, dtype: torch.dtype) -> Case:
    try:
        return Case(vector, dtype)
    except NotInThisVersion as reason:
        pytest.skip(str(reason))


def compare_levels(case: Case) -> None:
    """The vectors of ReviewKD's comparison alone."""
    case.compare(hierarchical_context(list(case.student.values()), list(case.teacher.values())), nn.Module())


def compare_steps(case: Case) -> None:
    """CRD: steps whose banks go on, without an update of the embeddings."""
    arrays, whole = case.arrays, case.student | case.teacher
    students, teachers = case.student, case.teacher
    context = BuildContext(
        10, len(arrays["memory_v1_init"]), (3, 32, 32), torch.arange(len(arrays["memory_v1_init"])) % 10
    )
    adapters = case.distiller.build(
        View({"pooled": whole["s0"].shape[1:]}), View({"pooled": whole["t0"].shape[1:]}), context
    )
    adapters = adapters.to(case.dtype)
    given = {key.removeprefix("param/"): case.tensor(key) for key in arrays if key.startswith("param/")}
    given |= {f"memory_v{bank}": case.tensor(f"memory_v{bank}_init") for bank in (1, 2)}
    adapters.load_state_dict(adapters.state_dict() | given)
    for step in range(len(students)):
        case.student, case.teacher = {f"s{step}": students[f"s{step}"]}, {f"t{step}": teachers[f"t{step}"]}
        index, columns = case.tensor(f"index{step}"), case.tensor(f"contrast_idx{step}")
        case.distiller.columns = lambda batch, columns=columns: columns
        adapters.zero_grad()
        case.compare(case.loss(), adapters, str(step))
        batch = Batch(index, index, index, torch.tensor(1), torch.tensor(step), torch.Generator())
        with torch.no_grad():
            case.distiller.after_step(case.outputs("s", case.student), case.outputs("t", case.teacher), batch)
        for name, got in (("Z", adapters.Z), ("memory_v1", adapters.memory_v1), ("memory_v2", adapters.memory_v2)):
            close_to_scale(got, arrays[f"{name}_after{step}"], RTOL_32, 0.0)


def compare_paths(vector: Vector, dtype: torch.dtype) -> None:
    """FCFD: one step of two small residual networks along the stored paths; 0 is the teacher, 1 the student."""
    arrays = vector.arrays()
    state = {
        key.removeprefix("param/"): torch.from_numpy(np.asarray(arrays[key])) for key in arrays if key[:6] == "param/"
    }
    networks = []
    for number in range(2):
        own = {
            key.removeprefix(f"models.{number}."): value
            for key, value in state.items()
            if key[:8] == f"models.{number}"
        }
        widths = [len(own[key]) for key in ("conv1.weight", *(f"layer{stage}.0.conv2.weight" for stage in (1, 2, 3)))]
        blocks = len({key.split(".")[1] for key in own if key.startswith("layer1.")})
        network = ResNet(blocks, tuple(widths), len(own["fc.bias"]), arrays["image"].shape[1:])
        network.load_state_dict(own)
        networks.append(network.to(dtype).train())
    teacher, student = networks
    teacher.requires_grad_(False)

    name, constants = distiller_for(vector.method, vector.hyper)
    if "afterrelu" not in vector.name:
        constants |= {"student_map": "preact", "teacher_map": "preact"}
    distiller = DISTILLERS.get(name)(DISTILLERS.get(name).Config(**constants))
    bridges = distiller.build(student, teacher, BuildContext(10, 100, (3, 8, 8))).to(dtype)
    bridges.load_state_dict({key: state[f"bridges.{key}"] for key in bridges.state_dict()})
    who = ("teacher", "student")
    paths = [(who[path[0]], int((path == path[0]).sum()) - 1) for path in arrays["extra_paths"]]
    assert all(path in distiller.candidates for path in paths)
    distiller.drawn = lambda batch: paths

    images, labels = torch.from_numpy(arrays["image"]).to(dtype), torch.from_numpy(arrays["label"])
    with torch.no_grad():
        theirs = teacher(images)
    ours = student(images)
    batch = Batch(images, labels, labels, torch.tensor(1), torch.tensor(0), torch.Generator())
    weights = distiller.weights(int(vector.hyper.get("epoch", 0)) + 1)
    loss = torch.stack([weights[term] * value for term, value in distiller.losses(ours, theirs, batch).items()]).sum()
    loss.backward()

    suffix, rtol = ("_f64", RTOL_64) if dtype == torch.float64 else ("", RTOL_32)
    close_to_scale(loss, arrays["loss" + suffix], rtol, 0.0)
    for number, outputs in enumerate((theirs, ours)):
        close_to_scale(outputs.logits, arrays[f"logits_path{number}{suffix}"], rtol, 0.0)
    learners = {f"models.1.{key}": value for key, value in student.named_parameters()}
    learners |= {f"bridges.{key}": value for key, value in bridges.named_parameters()}
    for key, want in arrays.items():
        if key.startswith("grad_param/") and not key.endswith("_f64"):
            # the authors' own float32 and float64 gradients differ by as much
            close_to_scale(gradient_of(learners[key.removeprefix("grad_param/")]), want, RTOL_32, 1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("vector", vectors("feature"))
def test_equals_the_authors_code(vector: Vector, dtype: torch.dtype) -> None:
    if vector.method == "fcfd":
        compare_paths(vector, dtype)
        return
    if vector.method == "reviewkd_hcl":
        compare_levels(Levels(vector, dtype))
        return
    case = opened(vector, dtype)
    if case.name == "crd":
        compare_steps(case)
        return
    if not any(key.startswith("loss") for key in case.arrays):
        with pytest.raises(IncompatiblePair):
            case.build()
        return
    adapters = case.build()
    case.compare(case.loss(), adapters)
    if f"init_recon_loss{case.suffix}" in case.arrays:  # FT's first phase
        close_to_scale(case.first_phase(), case.arrays[f"init_recon_loss{case.suffix}"], case.rtol, 0.0)


def test_the_feature_manifest_is_there() -> None:
    assert len(vectors("feature")) >= 20
