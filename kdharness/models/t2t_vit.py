"""T2T-ViT-7: tokens made in three overlapping steps with two performers between, then seven blocks of width 256.

Yuan et al., ICCV 2021, as tiny-transformers has it, with its keys. All of the tokens-to-token module is the `stem`, at
1/16 of the image size. The position embedding (sinusoids) and the performers' random features are parameters that are
never trained. Every stage passes on a class token beside the patches, so that it is continued from `stageK.tokens`.

The authors' code casts the performer to float32; here it has the precision of the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import ModelEntry
from kdharness.models.registry import MODELS
from kdharness.models.transformer import MLP, Block, Transformer, as_map, drop_rates, layer_norm, patch_grid

WIDTH, DEPTH, HEADS, RATIO, TOKEN_WIDTH = 256, 7, 4, 2, 64
SPLITS = ((7, 4, 2), (3, 2, 1), (3, 2, 1))
"""Kernel, stride and padding of the overlapping windows."""
PATCH = 16


class PerformerAttention(nn.Module):
    """Attention in linear time by positive random features; (B, T, C) -> (B, T, D), the values added (C is not D).

    Choromanski et al., ICLR 2021: exp(q k) is about the mean over features w of exp(w q - |q|²/2) exp(w k - |k|²/2).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        features = TOKEN_WIDTH // 2
        start = nn.init.orthogonal_(torch.empty(features, TOKEN_WIDTH)) * features**0.5
        self.w = nn.Parameter(start, requires_grad=False)
        self.qkv_transform = nn.Linear(channels, 3 * TOKEN_WIDTH)
        self.projection = nn.Linear(TOKEN_WIDTH, TOKEN_WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        key, query, value = self.qkv_transform(tokens).chunk(3, 2)  # in this order
        key, query = self._features(key), self._features(query)
        mean = query @ (key.transpose(1, 2) @ value) / (query @ key.sum(1).unsqueeze(2) + 1e-8)
        return cast(Tensor, value + self.projection(mean))

    def _features(self, vectors: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, features)"""
        half = vectors.square().sum(2, keepdim=True) / 2
        return (vectors @ self.w.T - half).exp() / len(self.w) ** 0.5


class PerformerBlock(nn.Module):
    """Pre-norm performer attention, which changes the width, and MLP; (B, T, C) -> (B, T, D)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = layer_norm(channels)
        self.attn = PerformerAttention(channels)
        self.norm2 = layer_norm(TOKEN_WIDTH)
        self.mlp = MLP(TOKEN_WIDTH, TOKEN_WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = self.attn(self.norm1(tokens))
        return tokens + cast(Tensor, self.mlp(self.norm2(tokens)))


class TokensToToken(nn.Module):
    """Windows to tokens three times, a performer after the first two; (B, C, H, W) -> (B, H/16 W/16, D)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second, third = (kernel for kernel, _, _ in SPLITS)
        self.attention = nn.ModuleList(
            [PerformerBlock(channels * first**2), PerformerBlock(TOKEN_WIDTH * second**2)],
        )
        self.projection = nn.Linear(TOKEN_WIDTH * third**2, WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        features, (height, width) = images, images.shape[2:]
        for split, performer in zip(SPLITS, (*self.attention, self.projection), strict=True):
            kernel, stride, padding = split
            windows = F.unfold(features, kernel, stride=stride, padding=padding)
            height, width = height // stride, width // stride
            tokens = performer(windows.transpose(1, 2))
            features = as_map(tokens, (tokens.shape[2], height, width))
        return cast(Tensor, tokens)


class T2TViT(Transformer):
    """Patches and class token through seven blocks; layers `stem`, `stage1..7`, each with `.tokens`, `pooled`."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        grid = patch_grid("T2T-ViT", image_shape, PATCH, PATCH)
        tokens = 1 + grid[0] * grid[1]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(_sinusoids(tokens, WIDTH), requires_grad=False)
        self.t2t_module = TokensToToken(image_shape[0])
        blocks = (Block(WIDTH, HEADS, RATIO, rate, qkv_bias=False) for rate in drop_rates(DEPTH))
        self._modules["layers"] = nn.ModuleList(blocks)  # the checkpoints' key, and the name of the seam's property
        self.norm = layer_norm(WIDTH)
        self.head = nn.Linear(WIDTH, num_classes)
        nn.init.normal_(self.cls_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

        shapes: dict[str, tuple[int, ...]] = {}
        for stage in ("stem", *self._stages):
            shapes |= {f"{stage}.tokens": (tokens, WIDTH), stage: (WIDTH, *grid)}
        self.shapes = {**shapes, "pooled": (WIDTH,), "logits": (num_classes,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        blocks = {f"{stage}.tokens": block for stage, block in self._stages.items()}
        return {"stem.tokens": self._embed, **blocks, "pooled": lambda tokens: self.norm(tokens[:, 0])}

    @property
    def classifier(self) -> nn.Linear:
        return self.head

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        stages = {stage: (block,) for stage, block in self._stages.items()}
        stem = (self.t2t_module, nn.ParameterList([self.cls_token, self.pos_embed]))
        return {"stem": stem, **stages, "pooled": (self.norm,), "classifier": (self.head,)}

    @property
    def _stages(self) -> dict[str, nn.Module]:
        blocks = cast(nn.ModuleList, self._modules["layers"])
        return {f"stage{number}": block for number, block in enumerate(blocks, start=1)}

    def _embed(self, images: Tensor) -> Tensor:
        tokens = torch.cat((self.cls_token.expand(len(images), -1, -1), self.t2t_module(images)), 1)
        return tokens + self.pos_embed


def _sinusoids(positions: int, width: int) -> Tensor:
    """(1, positions, width): sines in even and cosines in odd places, of wavelengths up to 10000 (Vaswani, 2017)."""
    places = torch.arange(width, dtype=torch.float64)
    angles = torch.arange(positions, dtype=torch.float64).unsqueeze(1) / 10000 ** (2 * (places // 2) / width)
    table = torch.where(places % 2 == 0, angles.sin(), angles.cos())
    return table.float().unsqueeze(0)


MODELS.add("t2t_vit_7")(
    ModelEntry(
        "t2t_vit_7", "t2t_vit", T2TViT, printed="T2T-ViT-7", native=224, smallest=PATCH, published={"cifar100": 69.37}
    )
)
