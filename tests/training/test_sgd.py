"""Ours and torch's move the same parameters by the same bits."""

import pytest
import torch
from torch import nn

from kdharness.training.sgd import SGD


def nets() -> list[nn.Sequential]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3))
    return [net, _twin(net)]


def _twin(net: nn.Sequential) -> nn.Sequential:
    twin = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3))
    twin.load_state_dict(net.state_dict())
    return twin


def backward(net: nn.Sequential, step: int, *, skip: bool) -> None:
    """Some steps leave the first layer without a gradient, one gives it a gradient of zeros."""
    images = torch.randn(4, 5, generator=torch.Generator().manual_seed(step))
    net(images.to(net[0].weight.dtype)).square().sum().backward()
    if skip and step % 3 == 0:
        net[0].weight.grad = net[0].bias.grad = None
    if skip and step == 4:
        net[0].weight.grad.zero_()


@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("weight_decay", [5e-4, 0.0])
@pytest.mark.parametrize("skip", [False, True])
def test_bit_equal_to_torch(momentum: float, weight_decay: float, skip: bool) -> None:
    mine, other = nets()
    ours = SGD(mine.parameters(), momentum=momentum, weight_decay=weight_decay)
    theirs = torch.optim.SGD(other.parameters(), lr=0.1, momentum=momentum, weight_decay=weight_decay, foreach=True)
    for step in range(8):
        lr = 0.1 if step < 5 else 0.01
        theirs.param_groups[0]["lr"] = lr
        ours.zero_grad()
        theirs.zero_grad(set_to_none=True)
        backward(mine, step, skip=skip)
        backward(other, step, skip=skip)
        ours.step(lr)
        theirs.step()
        for name, value in mine.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), (step, name)


@pytest.mark.parametrize("skip", [False, True])
def test_nesterov_and_spared_parameters_too(skip: bool) -> None:
    mine, other = nets()
    ours = SGD(mine.parameters(), momentum=0.9, weight_decay=0.05, nesterov=True, undecayed=[1, 3, 5])
    groups = [
        {"params": [other[0].weight, other[1].weight, other[3].weight]},
        {"params": [other[0].bias, other[1].bias, other[3].bias], "weight_decay": 0.0},
    ]
    theirs = torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.05, nesterov=True, foreach=True)
    for step in range(8):
        ours.zero_grad()
        theirs.zero_grad(set_to_none=True)
        backward(mine, step, skip=skip)
        backward(other, step, skip=skip)
        ours.step(0.1)
        theirs.step()
        for name, value in mine.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), (step, name)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("weight_decay", [5e-4, 0.0])
@pytest.mark.parametrize("nesterov", [False, True])
def test_a_rate_on_the_device_is_torchs_fused_kernel(momentum: float, weight_decay: float, nesterov: bool) -> None:
    mine, other = nets()
    nesterov = nesterov and momentum > 0
    ours = SGD(mine.parameters(), momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
    constants = {"momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
    theirs = torch.optim.SGD(other.parameters(), lr=0.1, fused=True, **constants)  # type: ignore[arg-type]
    rate = torch.tensor(0.1, dtype=torch.float64)
    for step in range(8):
        theirs.param_groups[0]["lr"] = 0.1 if step < 5 else 0.01
        rate.fill_(theirs.param_groups[0]["lr"])
        ours.zero_grad()
        theirs.zero_grad(set_to_none=True)
        backward(mine, step, skip=False)
        backward(other, step, skip=False)
        ours.step(rate)
        theirs.step()
        for name, value in mine.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), (step, name)


def test_a_rate_on_the_device_moves_what_a_number_moves() -> None:
    mine, other = (net.double() for net in nets())
    named = {"momentum": 0.9, "weight_decay": 0.05, "nesterov": True, "undecayed": [1, 3, 5]}
    ours, theirs = (SGD(net.parameters(), **named) for net in (mine, other))  # type: ignore[arg-type]
    for step in range(8):
        for net, sgd, lr in ((mine, ours, torch.tensor(0.1, dtype=torch.float64)), (other, theirs, 0.1)):
            sgd.zero_grad()
            backward(net, step, skip=True)
            sgd.step(lr)  # type: ignore[arg-type]
        for name, value in mine.state_dict().items():
            assert torch.allclose(value, other.state_dict()[name], rtol=1e-13, atol=1e-15), (step, name)


def test_it_goes_on_from_its_state() -> None:
    mine, other = nets()
    first = SGD(mine.parameters(), momentum=0.9, weight_decay=5e-4)
    for step in range(1, 3):
        first.zero_grad()
        backward(mine, step, skip=True)
        first.step(0.1)
    other.load_state_dict(mine.state_dict())
    second = SGD(other.parameters(), momentum=0.9, weight_decay=5e-4)
    second.load_state_dict({"velocities": [v if v is None else v.clone() for v in first.state_dict()["velocities"]]})
    for net, sgd in ((mine, first), (other, second)):
        sgd.zero_grad()
        backward(net, 7, skip=False)
        sgd.step(0.1)
    assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), other.parameters(), strict=True))
    with pytest.raises(ValueError):
        second.load_state_dict({"velocities": [None]})


def test_it_does_not_load_the_compiler() -> None:
    import subprocess
    import sys

    code = "import sys, torch; from kdharness.training.sgd import SGD; p = torch.nn.Parameter(torch.ones(2));"
    code += "from kdharness.training.adamw import AdamW; p.grad = torch.ones(2);"
    code += "SGD([p], momentum=0.9, weight_decay=0.0).step(0.1);"
    code += "AdamW([p], betas=(0.9, 0.999), weight_decay=0.1).step(0.1);"
    code += "print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
