"""Ours and torch's AdamW move the same parameters by the same bits, and the recipe says which of them decay."""

import pytest
import torch
from test_sgd import backward, nets
from torch import nn

from kdharness.core.records import Recipe
from kdharness.training.adamw import AdamW
from kdharness.training.optimizers import optimizer, spared
from kdharness.training.sgd import SGD

RECIPE = Recipe(optimizer="adamw", epochs=1, batch_size=1, lr=1e-3, weight_decay=0.05)


@pytest.mark.parametrize("weight_decay", [0.05, 0.0])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bit_equal_to_torch(weight_decay: float, skip: bool, dtype: torch.dtype) -> None:
    mine, other = (net.to(dtype) for net in nets())
    ours = AdamW(mine.parameters(), betas=(0.9, 0.999), weight_decay=weight_decay, undecayed=[1, 3, 5])
    groups = [
        {"params": [each for each in other.parameters() if each.ndim > 1 or each is other[1].weight]},
        {"params": [other[0].bias, other[1].bias, other[3].bias], "weight_decay": 0.0},
    ]
    theirs = torch.optim.AdamW(groups, lr=1e-3, weight_decay=weight_decay, foreach=True)
    for step in range(8):
        lr = 1e-3 / (step + 1)
        for group in theirs.param_groups:
            group["lr"] = lr
        ours.zero_grad()
        theirs.zero_grad(set_to_none=True)
        for net in (mine, other):
            backward(net, step, skip=skip)
        ours.step(lr)
        theirs.step()
        for name, value in mine.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), (step, name)


@pytest.mark.parametrize("skip", [False, True])
def test_a_rate_on_the_device_moves_what_a_number_moves(skip: bool) -> None:
    mine, other = (net.double() for net in nets())
    ours, theirs = (
        AdamW(net.parameters(), betas=(0.9, 0.999), weight_decay=0.05, undecayed=[1, 3, 5]) for net in (mine, other)
    )
    for step in range(8):
        lr = 1e-3 / (step + 1)
        for net, adamw, rate in ((mine, ours, torch.tensor(lr, dtype=torch.float64)), (other, theirs, lr)):
            adamw.zero_grad()
            backward(net, step, skip=skip)
            adamw.step(rate)  # type: ignore[arg-type]
        for name, value in mine.state_dict().items():
            assert torch.allclose(value, other.state_dict()[name], rtol=1e-10, atol=1e-12), (step, name)
        if step == 4:  # its counts go on from a checkpoint
            ours.load_state_dict(ours.state_dict())
    assert ours.state_dict()["steps"] == theirs.state_dict()["steps"]


def test_it_goes_on_from_its_state() -> None:
    mine, other = nets()
    first = AdamW(mine.parameters(), betas=(0.9, 0.999), weight_decay=0.05)
    for step in range(1, 4):
        first.zero_grad()
        backward(mine, step, skip=True)
        first.step(0.1)
    other.load_state_dict(mine.state_dict())
    second = AdamW(other.parameters(), betas=(0.9, 0.999), weight_decay=0.05)
    state = first.state_dict()
    second.load_state_dict({"steps": state["steps"], **{name: [each.clone() for each in state[name]] for name in
                                                        ("means", "squares")}})  # fmt: skip
    for net, adamw in ((mine, first), (other, second)):
        adamw.zero_grad()
        backward(net, 7, skip=False)
        adamw.step(0.1)
    assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), other.parameters(), strict=True))
    assert set(first.state_dict()["steps"]) == {3, 4}
    with pytest.raises(ValueError):
        second.load_state_dict({"steps": [1], "means": [torch.ones(1)], "squares": [torch.ones(1)]})


def test_the_recipe_names_the_optimizer() -> None:
    net = nets()[0]
    adamw = optimizer(RECIPE.model_copy(update={"momentum": 0.8}), net.named_parameters())
    assert isinstance(adamw, AdamW)
    assert (adamw.betas, adamw.weight_decay, adamw.undecayed) == ((0.8, 0.999), 0.05, frozenset())
    named = {"optimizer": "sgd", "nesterov": True, "weight_decay_on": "matrices"}
    sgd = optimizer(RECIPE.model_copy(update=named), net.named_parameters())
    assert isinstance(sgd, SGD)
    assert (sgd.nesterov, sgd.momentum, sgd.undecayed) == (True, 0.9, {1, 2, 3, 5})  # biases and the batch norm


def test_matrices_spare_what_tiny_transformers_spares() -> None:
    matrix, token, vector = (
        nn.Parameter(torch.ones(2, 2)),
        nn.Parameter(torch.ones(1, 1, 2)),
        nn.Parameter(torch.ones(2)),
    )
    assert [spared(*each) for each in (
        ("0.layers.0.attn.proj.weight", matrix), ("0.cls_token", token), ("0.pos_embed4", token),
        ("0.distill_token", token), ("0.norm.weight", vector), ("0.head.bias", vector),
    )] == [False, True, True, True, True, True]  # fmt: skip
