"""Every feature vector of every manifest: unweighted loss, gradients and adapter buffers equal the authors'."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from mapping import NotInThisVersion, distiller_for
from torch import nn
from vectors import Vector, close_to_scale, vectors

from kdharness.core.errors import IncompatiblePair
from kdharness.core.types import Batch, BuildContext, Outputs
from kdharness.distillers.registry import DISTILLERS

RTOL_64, RTOL_32 = 1e-6, 1e-4  # feature/README.md


@dataclass
class View:
    """The shapes of one layer, as a distiller's `build` asks for them."""

    shapes: dict[str, tuple[int, ...]]
    batch_norms: dict[str, nn.BatchNorm2d] = field(default_factory=dict)
    layers: dict[str, list[nn.Module]] = field(default_factory=dict)
    classifier: nn.Linear = field(default_factory=lambda: nn.Linear(1, 1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("vector", vectors("feature"))
def test_equals_the_authors_code(vector: Vector, dtype: torch.dtype) -> None:
    try:
        name, constants = distiller_for(vector.method, vector.hyper)
    except NotInThisVersion as reason:
        pytest.skip(str(reason))
    assert name == "fitnet", "the runner knows how a hint's arrays are named; another method's must be added"
    arrays = vector.arrays()
    suffix, rtol = ("_f64", RTOL_64) if dtype == torch.float64 else ("", RTOL_32)
    distiller_class = DISTILLERS.get(name)
    distiller = distiller_class(distiller_class.Config(**constants))
    layer = distiller.needs.stages[0]
    student = torch.from_numpy(arrays["s0"]).to(dtype).requires_grad_()
    teacher = torch.from_numpy(arrays["t0"]).to(dtype)
    views = [View({layer: tuple(features.shape[1:])}) for features in (student, teacher)]
    context = BuildContext(10, 100, (3, 32, 32))
    if "loss" not in arrays:
        with pytest.raises(IncompatiblePair):
            distiller.build(*views, context)
        return

    adapters = distiller.build(*views, context).to(dtype)
    state = {key.removeprefix("param/"): arrays[key] for key in arrays if key.startswith("param/")}
    adapters.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in state.items()})
    logits = torch.zeros(len(student), 10, dtype=dtype)
    labels = torch.zeros(len(student), dtype=torch.int64)
    batch = Batch(logits, labels, labels, torch.tensor(1), torch.tensor(0), torch.Generator())
    loss = distiller.losses(
        Outputs(logits, logits, {layer: student}), Outputs(logits, logits, {layer: teacher}), batch
    )["hint"]
    loss.backward()

    if not np.isfinite(arrays["loss" + suffix]).all():
        assert torch.isfinite(loss)
        return
    close_to_scale(loss, arrays["loss" + suffix], rtol, 0.0)
    assert student.grad is not None
    close_to_scale(student.grad, arrays["grad_s0" + suffix], rtol, 1e-12)
    gradients = {key: parameter.grad for key, parameter in adapters.named_parameters()}
    for key, want in arrays.items():
        part, _, tensor = key.partition("/")
        if part == "grad_param":
            gradient = gradients[tensor]
            assert gradient is not None
            close_to_scale(gradient, want, RTOL_32, 1e-6)
        if part == "buffer_after":
            close_to_scale(adapters.state_dict()[tensor], want, RTOL_32, 0.0)


def test_the_feature_manifest_is_there() -> None:
    assert len(vectors("feature")) >= 20
