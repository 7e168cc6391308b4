"""What the vision transformers share: attention, MLP, drop path, and a chain that passes on tokens.

The five families are those of tiny-transformers (Li et al., ECCV 2022, commit d2165f7): its keys, its numbers in eval
mode, layer norms of eps 1e-6, no dropout. Every block is a stage: stage k of N is block k of all the network's blocks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.errors import BadInput
from kdharness.core.types import Outputs
from kdharness.models.chain import Chain

DROP_PATH = 0.1
"""The rate of the last block; the first has 0."""


class Transformer(Chain):
    """A chain whose stages are blocks, without batch norms.

    A stage with further tokens (a class token) is the step `stageK.tokens`: (B, T, D) with the patches last, which is
    what the network passes on. `stageK`, the (B, D, H, W) map of its patches, is read beside it and leads nowhere.
    """

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        return {}

    def forward_from(self, stage: str, features: Tensor, *, update_statistics: bool = False) -> Outputs:
        """See NetworkView.forward_from."""
        if f"{stage}.tokens" in self.shapes:
            raise KeyError(f"the map {stage!r} lacks tokens that the network passes on; continue from '{stage}.tokens'")
        return super().forward_from(stage, features, update_statistics=update_statistics)

    def _run(self, features: Tensor, steps: Mapping[str, Callable[[Tensor], Tensor]]) -> Outputs:
        outputs = super()._run(features, steps)
        stages: dict[str, Tensor] = {}
        for name, passed in outputs.stages.items():
            stages[name] = passed
            stage, _, kind = name.partition(".")
            if kind == "tokens":
                stages[stage] = as_map(passed, self.shapes[stage])
        return replace(outputs, stages=stages)


class Attention(nn.Module):
    """Multi-head self-attention; (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv_transform = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.projection = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.qkv_transform(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return cast(Tensor, self.projection(attend(query, key, value)))


class MLP(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return cast(Tensor, self.fc2(F.gelu(self.fc1(tokens))))


class Block(nn.Module):
    """Pre-norm attention and MLP, each dropped for whole images at `rate` while training; (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, heads: int, ratio: int, rate: float, qkv_bias: bool = True) -> None:
        super().__init__()
        self.rate = rate
        self.norm1 = layer_norm(width)
        self.attn = Attention(width, heads, qkv_bias)
        self.norm2 = layer_norm(width)
        self.mlp = MLP(width, ratio * width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + drop_path(self.attn(self.norm1(tokens)), self.rate, self.training)
        return tokens + drop_path(self.mlp(self.norm2(tokens)), self.rate, self.training)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention; (B, heads, T, d) each -> (B, T, heads d).

    Written out, because torch's fused kernels need not add up in the same order at every call.
    """
    scores = (query @ key.transpose(2, 3)) * query.shape[3] ** -0.5
    return (scores.softmax(3) @ value).transpose(1, 2).flatten(2)


def drop_path(branch: Tensor, rate: float, training: bool) -> Tensor:
    """Stochastic depth: zeros for an image at `rate`, else scaled so that the mean stays.

    Draws from torch's global generator (which the training loop seeds before every step), and only while training.
    """
    if rate == 0 or not training:
        return branch
    kept = branch.new_empty((len(branch), *(1,) * (branch.dim() - 1))).bernoulli_(1 - rate)
    return branch * (kept / (1 - rate))


def drop_rates(blocks: int) -> list[float]:
    """Evenly from 0 to DROP_PATH over all blocks of the network."""
    return [float(rate) for rate in torch.linspace(0, DROP_PATH, blocks, device="cpu")]


def layer_norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, eps=1e-6)


def as_map(tokens: Tensor, shape: Sequence[int]) -> Tensor:
    """(B, T, D) -> (B, D, H, W): the patches, which are the last tokens, without what stands in front of them."""
    _, height, width = shape
    patches = tokens[:, -height * width :].transpose(1, 2)
    return patches.reshape(len(tokens), -1, height, width)


def as_tokens(features: Tensor) -> Tensor:
    """(B, D, H, W) -> (B, H W, D)"""
    return features.flatten(2).transpose(1, 2)


def patch_grid(name: str, image_shape: tuple[int, int, int], patch: int, smallest: int) -> tuple[int, int]:
    """Patches over height and width. Raises BadInput for images that the patches do not divide."""
    _, *size = image_shape
    if any(side % patch or side < smallest for side in size):
        raise BadInput(
            f"{name} takes images whose sides are multiples of {patch} and at least {smallest} pixels, "
            f"not {size[0]}x{size[1]}",
            remedy="another network, or images of another size",
        )
    return size[0] // patch, size[1] // patch


def init_truncated(network: nn.Module) -> None:
    """Linear layers from a normal of 0.02 cut at 2, their biases 0; layer norms and convolutions stay torch's."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
