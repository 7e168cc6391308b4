"""What networks do for the sake of a CPU: depthwise convolutions, and gradients that lie as the features do."""

from typing import Any

import pytest
import torch
from torch import nn

from kdharness.models.chain import pool
from kdharness.models.depthwise import DepthwiseConv2d
from kdharness.models.registry import MODELS


def test_it_is_the_convolution_of_each_channel_and_stays_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    ours, images = DepthwiseConv2d(6, 2, bias=True), torch.randn(2, 6, 8, 8)
    expected = nn.functional.conv2d(images, ours.weight, ours.bias, stride=2, padding=1, groups=6)
    assert ours(images).equal(expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(images).equal(expected)
        assert ours(images.bfloat16()).equal(ours(images.bfloat16().float()))
        assert nn.functional.conv2d(images, ours.weight, groups=6).dtype is torch.bfloat16


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_shufflenetv2_hands_its_batch_norms_gradients_without_gaps(layout: torch.memory_format) -> None:
    network = MODELS.get("shufflenetv2").build(4, (3, 8, 8)).to(memory_format=layout)
    whole: list[bool] = []

    def listen(_: nn.Module, __: Any, made: torch.Tensor) -> None:
        assert made.grad_fn is not None
        made.grad_fn.register_prehook(lambda given: whole.append(given[0].is_contiguous(memory_format=layout)))

    for unit in (network.layer1[0], network.layer1[1]):
        for norm in (each for each in unit.children() if isinstance(each, nn.BatchNorm2d)):
            norm.register_forward_hook(listen)
    network(torch.randn(2, 3, 8, 8).contiguous(memory_format=layout)).logits.sum().backward()
    assert len(whole) == 8
    assert all(whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_pooling_hands_on_a_gradient_that_lies_as_the_features_do_and_moves_no_bit(
    dtype: torch.dtype, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    features = torch.randn(5, 61, 7, 4).to(dtype).contiguous(memory_format=layout)
    found = []
    for pooled in (pool, lambda each: nn.functional.adaptive_avg_pool2d(each, 1).flatten(1)):
        leaf = features.clone().requires_grad_()
        gradients: list[torch.Tensor] = []
        before = leaf * 1
        before.register_hook(gradients.append)
        mean = pooled(before)
        (mean * torch.arange(61, dtype=dtype)).sum().backward()
        found.append((mean, gradients[0]))
    (ours, gradient), (theirs, expected) = found
    assert ours.equal(theirs) and gradient.equal(expected)
    assert gradient.is_contiguous(memory_format=layout)
