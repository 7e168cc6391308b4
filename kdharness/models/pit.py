"""PiT-Ti: a vision transformer that pools: 2, 6 and 4 blocks of width 64, 128 and 256 on overlapping patches.

Heo et al., ICCV 2021, as tiny-transformers has it, with its keys. Patches of 16 pixels every 8, so that at 224 pixels
stages 1 and 2, 3 to 8 and 9 to 12 have maps of 27, 14 and 7; the strided convolution between them halves the map and
doubles the width, a linear layer does so for the class token, and both belong to the stage that they lead to. Linear
layers start as torch has them. As the authors' code has it, drop path rises by a twelfth of 0.1 with each of the twelve
blocks, so that the last one has 0.092.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from kdharness.core.types import ModelEntry
from kdharness.models.registry import MODELS
from kdharness.models.transformer import DROP_PATH, Block, Transformer, as_map, as_tokens, layer_norm, patch_grid

WIDTHS, DEPTHS, HEADS, RATIO = (64, 128, 256), (2, 6, 4), (2, 4, 8), 4
PATCH, STRIDE = 16, 8


class PatchEmbedding(nn.Module):
    """One strided convolution over overlapping patches; (B, C, H, W) -> (B, D, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, WIDTHS[0], PATCH, STRIDE)

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.conv(images))


class Pool(nn.Module):
    """A strided depthwise convolution for the patches and a linear layer for the class token; both double the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 2 * width, 3, 2, padding=1, groups=width)
        self.fc = nn.Linear(width, 2 * width)

    def forward(self, tokens: Tensor, shape: Sequence[int]) -> Tensor:
        patches = as_tokens(self.conv(as_map(tokens, shape)))
        return torch.cat((self.fc(tokens[:, :1]), patches), 1)


class Group(nn.Module):
    """The blocks of one width, under the checkpoints' key."""

    def __init__(self, width: int, heads: int, rates: Sequence[float]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, RATIO, rate) for rate in rates)


class PiT(Transformer):
    """Patches and class token through twelve blocks; layers `stem`, `stage1..12`, each with `.tokens`, `pooled`."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        patches = patch_grid("PiT", image_shape, STRIDE, PATCH)
        overlap = PATCH // STRIDE - 1
        grid = (patches[0] - overlap, patches[1] - overlap)
        self.pos_embed = nn.Parameter(torch.zeros(1, WIDTHS[0], *grid))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTHS[0]))
        self.patch_embed = PatchEmbedding(image_shape[0])
        rates = iter([DROP_PATH * number / sum(DEPTHS) for number in range(sum(DEPTHS))])
        self.transformers = nn.ModuleList(
            Group(width, heads, [next(rates) for _ in range(depth)])
            for width, heads, depth in zip(WIDTHS, HEADS, DEPTHS, strict=True)
        )
        self.pools = nn.ModuleList(Pool(width) for width in WIDTHS[:-1])
        self.norm = layer_norm(WIDTHS[-1])
        self.head = nn.Linear(WIDTHS[-1], num_classes)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)

        shapes: dict[str, tuple[int, ...]] = {
            "stem.tokens": (1 + grid[0] * grid[1], WIDTHS[0]),
            "stem": (WIDTHS[0], *grid),
        }
        for stage, (pool, block) in self._stages.items():
            if pool is not None:
                grid = (-(-grid[0] // 2), -(-grid[1] // 2))
            width = cast(Block, block).norm1.normalized_shape[0]
            shapes |= {f"{stage}.tokens": (1 + grid[0] * grid[1], width), stage: (width, *grid)}
        self.shapes = {**shapes, "pooled": (WIDTHS[-1],), "logits": (num_classes,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        steps: dict[str, Callable[[Tensor], Tensor]] = {"stem.tokens": self._embed}
        before = "stem"
        for stage, (pool, block) in self._stages.items():
            steps[f"{stage}.tokens"] = block if pool is None else partial(_pooled, pool, block, self.shapes[before])
            before = stage
        return {**steps, "pooled": lambda tokens: self.norm(tokens[:, 0])}

    @property
    def classifier(self) -> nn.Linear:
        return self.head

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        stages = {stage: (block,) if pool is None else (pool, block) for stage, (pool, block) in self._stages.items()}
        stem = (self.patch_embed, nn.ParameterList([self.pos_embed, self.cls_token]))
        return {"stem": stem, **stages, "pooled": (self.norm,), "classifier": (self.head,)}

    @property
    def _stages(self) -> dict[str, tuple[nn.Module | None, nn.Module]]:
        """Per stage its block, and the pool in front of it where there is one."""
        stages: list[tuple[nn.Module | None, nn.Module]] = []
        for pool, group in zip((None, *self.pools), self.transformers, strict=True):
            first, *others = cast(Group, group).blocks
            stages += [(pool, first), *((None, block) for block in others)]
        return {f"stage{number}": stage for number, stage in enumerate(stages, start=1)}

    def _embed(self, images: Tensor) -> Tensor:
        patches = as_tokens(self.patch_embed(images) + self.pos_embed)
        return torch.cat((self.cls_token.expand(len(images), -1, -1), patches), 1)


def _pooled(pool: nn.Module, block: nn.Module, shape: Sequence[int], tokens: Tensor) -> Tensor:
    return cast(Tensor, block(pool(tokens, shape)))


MODELS.add("pit_tiny", "PiT_Ti")(
    ModelEntry("pit_tiny", "pit", PiT, printed="PiT-Ti", native=224, smallest=PATCH, published={"cifar100": 73.58})
)
