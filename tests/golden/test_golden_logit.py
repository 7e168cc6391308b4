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

    leaves = {
        key: torch.from_numpy(values).to(dtype).requires_grad_()
        for key, values in arrays.items()
        if key.startswith("logits_student")
    }
    names = sorted(key for key in arrays if key.startswith("logits_teacher"))
    given = {key: torch.from_numpy(arrays[key]).to(dtype) for key in names}
    student = side(leaves, "logits_student")
    # an ensemble is the mean of its logits; several peers each give a divergence, and those are summed
    if distiller.needs.peer:
        peers = [Outputs(each, each) for each in given.values()]
    elif distiller.needs.views == 2:
        peers = [side(given, "logits_teacher")]
    else:
        mean = torch.stack(list(given.values())).mean(0)
        peers = [Outputs(mean, mean)]
    epoch = int(vector.hyper.get("epoch", LATE_EPOCH))
    batch = batch_of(torch.from_numpy(arrays["target"]), epoch)

    each = [distiller.losses(student, peer, batch) for peer in peers]
    terms = {term: sum((one[term] for one in each[1:] if term != "ce"), value) for term, value in each[0].items()}
    weights = distiller.weights(epoch)
    weighted = {term: weights[term] * terms[term] for term in terms}
    total = sum(weighted.values(), torch.zeros((), dtype=dtype))
    total.backward()
    parts = {"loss_total": total}
    for term, value in weighted.items():
        key = f"loss_{component(term)}"
        parts[key] = parts.get(key, torch.zeros((), dtype=dtype)) + value

    for other, ours in OTHER_NAMES.items():
        parts.setdefault(f"loss_{other}", parts.get(f"loss_{ours}", total))

    assert torch.isfinite(total), "not finite"
    unfinite = set(entry["nonfinite_arrays"])
    for key, value in parts.items():
        if key in arrays and key not in unfinite and np.isfinite(arrays[key]).all():
            close(value, arrays[key], entry["rtol"], entry["atol"])
    gradients = {key: leaf.grad for key, leaf in (*leaves.items(), *adapters.named_parameters())}
    for key, gradient in gradients.items():
        assert gradient is not None and torch.isfinite(gradient).all(), f"the gradient of {key} is not finite"
        wanted = arrays[f"grad_{key}"]
        if f"grad_{key}" not in unfinite and np.isfinite(wanted).all():
            close_to_scale(gradient, wanted, entry["grad_rtol"], entry["grad_atol"])


def side(logits: dict[str, torch.Tensor], prefix: str) -> Outputs:
    """The outputs made of these logits, of one view or of `_weak` and `_strong`."""
    if prefix in logits:
        return Outputs(logits[prefix], logits[prefix])
    weak, strong = logits[f"{prefix}_weak"], logits[f"{prefix}_strong"]
    return Outputs(weak, weak, second=Outputs(strong, strong))


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
