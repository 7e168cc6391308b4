"""PVT-Ti: a pyramid of four pairs of blocks of width 64, 128, 320 and 512, with attention to a reduced map.

Wang et al., ICCV 2021, as tiny-transformers has it, with its keys. Patches of 4, 2, 2 and 2 pixels, so that stages 1
and 2, 3 and 4, 5 and 6, 7 and 8 stand at 1/4, 1/8, 1/16 and 1/32 of the image size; the patch embedding of a pair
belongs to its first stage, that of the first pair is the `stem`. A class token joins for the last pair: only stages 7
and 8 are continued from `stageK.tokens`, the others from their maps.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from kdharness.core.types import ModelEntry
from kdharness.models.registry import MODELS
from kdharness.models.transformer import (
    MLP,
    Transformer,
    as_map,
    as_tokens,
    attend,
    drop_path,
    drop_rates,
    init_truncated,
    layer_norm,
    patch_grid,
)

WIDTHS, HEADS, RATIOS, REDUCTIONS, PATCHES = (64, 128, 320, 512), (1, 2, 5, 8), (8, 8, 4, 4), (8, 4, 2, 1), (4, 2, 2, 2)
PAIRS = len(WIDTHS)
LAST_PAIR = PAIRS - 1
SMALLEST = 32
"""One patch of the last pair, and one reduced patch of every other."""


class ReducedAttention(nn.Module):
    """Multi-head attention of every token to a map made smaller by a strided convolution; (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.reduction = reduction
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, reduction)
            self.norm = layer_norm(width)

    def forward(self, tokens: Tensor, shape: Sequence[int]) -> Tensor:
        seen = tokens
        if self.reduction > 1:
            seen = self.norm(as_tokens(self.sr(as_map(tokens, shape))))
        query = self.q(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.kv(seen).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return cast(Tensor, self.proj(attend(query, key, value)))


class Block(nn.Module):
    """Pre-norm reduced attention and MLP; (B, T, D) -> (B, T, D), `shape` being that of the map of its patches."""

    def __init__(self, pair: int, rate: float) -> None:
        super().__init__()
        width = WIDTHS[pair]
        self.rate = rate
        self.norm1 = layer_norm(width)
        self.attn = ReducedAttention(width, HEADS[pair], REDUCTIONS[pair])
        self.norm2 = layer_norm(width)
        self.mlp = MLP(width, RATIOS[pair] * width)

    def forward(self, tokens: Tensor, shape: Sequence[int]) -> Tensor:
        tokens = tokens + drop_path(self.attn(self.norm1(tokens), shape), self.rate, self.training)
        return tokens + drop_path(self.mlp(self.norm2(tokens)), self.rate, self.training)


class PatchEmbedding(nn.Module):
    """One strided convolution over patches that do not overlap, and a layer norm; (B, C, H, W) -> (B, patches, D)."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)
        self.norm = layer_norm(width)

    def forward(self, features: Tensor) -> Tensor:
        return cast(Tensor, self.norm(as_tokens(self.proj(features))))


class PVT(Transformer):
    """Four pairs of blocks; layers `stem`, `stage1..8`, the last two with `.tokens`, `pooled`."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, *_ = image_shape
        maps = pyramid("PVT", WIDTHS, image_shape)
        counts = [height * width for _, height, width in maps]
        counts[-1] += 1  # the class token
        for number, (count, width) in enumerate(zip(counts, WIDTHS, strict=True), start=1):
            self.register_parameter(f"pos_embed{number}", nn.Parameter(torch.zeros(1, count, width)))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTHS[-1]))
        rates = drop_rates(2 * PAIRS)
        for pair, before in enumerate((channels, *WIDTHS[:-1])):
            blocks = (Block(pair, rate) for rate in rates[2 * pair : 2 * pair + 2])
            self.add_module(f"patch_embed{pair + 1}", PatchEmbedding(before, WIDTHS[pair], PATCHES[pair]))
            self.add_module(f"block{pair + 1}", nn.ModuleList(blocks))
        self.norm = layer_norm(WIDTHS[-1])
        self.head = nn.Linear(WIDTHS[-1], num_classes)
        init_truncated(self)
        for parameter in (self.cls_token, *(self.get_parameter(f"pos_embed{pair + 1}") for pair in range(PAIRS))):
            nn.init.trunc_normal_(parameter, std=0.02)

        shapes: dict[str, tuple[int, ...]] = {"stem": maps[0]}
        for number in range(1, 2 * PAIRS + 1):
            pair = (number - 1) // 2
            if pair == LAST_PAIR:
                shapes[f"stage{number}.tokens"] = (counts[-1], WIDTHS[-1])
            shapes[f"stage{number}"] = maps[pair]
        self.shapes = {**shapes, "pooled": (WIDTHS[-1],), "logits": (num_classes,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        steps: dict[str, Callable[[Tensor], Tensor]] = {
            "stem": lambda images: as_map(self._embed(0, images), self.shapes["stem"])
        }
        for number in range(1, 2 * PAIRS + 1):
            name = f"stage{number}.tokens" if f"stage{number}.tokens" in self.shapes else f"stage{number}"
            steps[name] = partial(self._stage, number)
        return {**steps, "pooled": lambda tokens: self.norm(tokens[:, 0])}

    @property
    def classifier(self) -> nn.Linear:
        return self.head

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        layers: dict[str, Sequence[nn.Module]] = {"stem": self._embedding(0)}
        for number in range(1, 2 * PAIRS + 1):
            pair, second = divmod(number - 1, 2)
            first = () if second or not pair else self._embedding(pair)
            layers[f"stage{number}"] = (*first, self.get_submodule(f"block{pair + 1}.{second}"))
        return {**layers, "pooled": (self.norm,), "classifier": (self.head,)}

    def _embedding(self, pair: int) -> tuple[nn.Module, ...]:
        """What makes the tokens of a pair from the map before it."""
        position = self.get_parameter(f"pos_embed{pair + 1}")
        held = [position, self.cls_token] if pair == LAST_PAIR else [position]
        return self.get_submodule(f"patch_embed{pair + 1}"), nn.ParameterList(held)

    def _embed(self, pair: int, features: Tensor) -> Tensor:
        tokens = self.get_submodule(f"patch_embed{pair + 1}")(features)
        if pair == LAST_PAIR:
            tokens = torch.cat((self.cls_token.expand(len(tokens), -1, -1), tokens), 1)
        return cast(Tensor, tokens + self.get_parameter(f"pos_embed{pair + 1}"))

    def _stage(self, number: int, passed: Tensor) -> Tensor:
        pair, second = divmod(number - 1, 2)
        shape = self.shapes[f"stage{number}"]
        if pair and not second:
            tokens = self._embed(pair, passed)
        else:
            tokens = passed if pair == LAST_PAIR else as_tokens(passed)
        tokens = self.get_submodule(f"block{pair + 1}.{second}")(tokens, shape)
        return tokens if pair == LAST_PAIR else as_map(tokens, shape)


def pyramid(name: str, widths: Sequence[int], image_shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """The shapes of four maps at 1/4 to 1/32 of the image size. Raises BadInput for sides that 32 does not divide."""
    height, width = patch_grid(name, image_shape, SMALLEST, SMALLEST)
    return [(wide, scale * height, scale * width) for wide, scale in zip(widths, (8, 4, 2, 1), strict=True)]


MODELS.add("pvt_tiny", "PVT_Ti")(
    ModelEntry("pvt_tiny", "pvt", PVT, printed="PVT-Ti", native=224, smallest=SMALLEST, published={"cifar100": 69.22})
)
