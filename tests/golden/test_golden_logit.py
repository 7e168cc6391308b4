"""Every logit vector of every manifest: losses and gradients equal the authors'; finite where theirs are not."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from mapping import OTHER_NAMES, NotInThisVersion, component, distiller_for
from vectors import Vector, close, close_to_scale, vectors

from kdharness.core.records import Recipe
from kdharness.core.types import Batch, BuildContext, Outputs
from kdharness.distillers.ctkd import CTKD
from kdharness.distillers.registry import DISTILLERS

LATE_EPOCH = 10_000  # where an entry names no epoch every warm-up is over

CIFAR, IMAGENET = (150, 180, 210), (30, 60, 90)
SCHEDULES = {
    "cifar_lr005": Recipe(epochs=240, batch_size=64, lr=0.05, milestones=CIFAR),
    "cifar_lr001": Recipe(epochs=240, batch_size=64, lr=0.01, milestones=CIFAR),
    "imagenet": Recipe(epochs=100, batch_size=512, lr=0.2, milestones=IMAGENET),
    "mlkd_480": Recipe(epochs=480, batch_size=64, lr=0.025, milestones=CIFAR),
}


def batch_of(labels: torch.Tensor, epoch: int) -> Batch:
    images = torch.zeros(len(labels), 3, 1, 1)
    position = torch.arange(len(labels))
    return Batch(images, labels, position, torch.tensor(epoch), torch.tensor(0), torch.Generator())


@pytest.mark.parametrize("vector", vectors("logit"))
def test_equals_the_authors_code(vector: Vector) -> None:
    if vector.method == "recipe":
        check_schedule(vector)
        return
    if "epoch" in vector.arrays():
        check_curriculum(vector)
        return
    try:
        name, constants = distiller_for(vector.method, vector.hyper)
    except NotInThisVersion as reason:
        pytest.skip(str(reason))
    arrays, entry = vector.arrays(), vector.entry
    distiller_class = DISTILLERS.get(name)
    distiller = distiller_class(distiller_class.Config(**constants))
    dtype = getattr(torch, entry["dtype"])
    adapters = distiller.build(NoView(), NoView(), BuildContext(int(entry["C"]), 0, (3, 1, 1))).to(dtype)
    for key, parameter in adapters.named_parameters():
        parameter.data.fill_(float(vector.hyper.get(key, 1.0)))

    def logits(key: str) -> torch.Tensor:
        return torch.from_numpy(arrays[key]).to(dtype)

    student = logits("logits_student").requires_grad_()
    teachers = [logits(key) for key in sorted(arrays) if key.startswith("logits_teacher")]
    # an ensemble is the mean of its logits; several peers each give a divergence, and those are summed
    peers = [Outputs(each, each) for each in (teachers if distiller.needs.peer else [torch.stack(teachers).mean(0)])]
    epoch = int(vector.hyper.get("epoch", LATE_EPOCH))
    batch = batch_of(torch.from_numpy(arrays["target"]), epoch)

    each = [distiller.losses(Outputs(student, student), peer, batch) for peer in peers]
    terms = {term: sum((one[term] for one in each[1:] if term != "ce"), value) for term, value in each[0].items()}
    weights = distiller.weights(epoch)
    weighted = {term: weights[term] * terms[term] for term in terms}
    total = sum(weighted.values(), torch.zeros((), dtype=student.dtype))
    total.backward()
    parts = {"loss_total": total}
    for term, value in weighted.items():
        key = f"loss_{component(term)}"
        parts[key] = parts.get(key, torch.zeros((), dtype=student.dtype)) + value

    for other, ours in OTHER_NAMES.items():
        parts.setdefault(f"loss_{other}", parts.get(f"loss_{ours}", total))

    assert student.grad is not None
    assert torch.isfinite(total) and torch.isfinite(student.grad).all(), "not finite"
    unfinite = set(entry["nonfinite_arrays"])
    for key, value in parts.items():
        if key in arrays and key not in unfinite and np.isfinite(arrays[key]).all():
            close(value, arrays[key], entry["rtol"], entry["atol"])
    gradients = {"logits_student": student.grad} | {key: value.grad for key, value in adapters.named_parameters()}
    for key, gradient in gradients.items():
        assert gradient is not None and torch.isfinite(gradient).all(), f"the gradient of {key} is not finite"
        wanted = arrays[f"grad_{key}"]
        if f"grad_{key}" not in unfinite and np.isfinite(wanted).all():
            close_to_scale(gradient, wanted, entry["grad_rtol"], entry["grad_atol"])


class NoView:
    """No network: the methods of these vectors ask nothing of one."""

    shapes: ClassVar[dict[str, tuple[int, ...]]] = {}


def check_curriculum(vector: Vector) -> None:
    """A file of CTKD's multipliers: one array per `<curriculum>_<first>_<last>_<epochs>`."""
    arrays = vector.arrays()
    for key in arrays.keys() - {"epoch"}:
        curriculum, first, last, epochs = key.split("_")
        config = CTKD.Config(
            curriculum=curriculum,
            first_multiplier=float(first),
            last_multiplier=float(last),
            curriculum_epochs=int(float(epochs)),
        )
        got = CTKD(config).multiplier(torch.from_numpy(arrays["epoch"]))
        close(got, arrays[key], vector.entry["rtol"], vector.entry["atol"])


def check_schedule(vector: Vector) -> None:
    arrays = vector.arrays()
    known = set(arrays) & set(SCHEDULES)
    assert known, f"no schedule of {sorted(arrays)} is known"
    for key in known:
        rates = [SCHEDULES[key].lr_at(epoch) for epoch in range(1, len(arrays[key]) + 1)]
        np.testing.assert_allclose(rates, arrays[key], rtol=vector.entry["rtol"], atol=vector.entry["atol"])


def test_the_logit_manifest_is_there() -> None:
    assert len(vectors("logit")) >= 24
