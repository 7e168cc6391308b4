"""PVTv2-B0: PVT with overlapping patches, a convolution inside every MLP, no class token and no position embedding.

Wang et al., Computational Visual Media 2022, as tiny-transformers has it, with its keys. Four pairs of blocks of width
32, 64, 160 and 256 at 1/4, 1/8, 1/16 and 1/32 of the image size. Every stage passes on its map. The layer norm behind a
pair belongs to the stage that follows, as the patch embedding does; the last one stands in front of the mean.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import ModelEntry
from kdharness.models.pvt import HEADS, PAIRS, RATIOS, REDUCTIONS, SMALLEST, ReducedAttention, pyramid
from kdharness.models.registry import MODELS
from kdharness.models.transformer import (
    Transformer,
    as_map,
    as_tokens,
    drop_path,
    drop_rates,
    init_truncated,
    layer_norm,
)

WIDTHS = (32, 64, 160, 256)
KERNELS, STRIDES = (7, 3, 3, 3), (4, 2, 2, 2)


class Depthwise(nn.Module):
    """A 3x3 depthwise convolution over the map of the tokens, under the checkpoints' key."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, tokens: Tensor, shape: Sequence[int]) -> Tensor:
        return as_tokens(self.dwconv(as_map(tokens, shape)))


class ConvolutionalMLP(nn.Module):
    """Linear, depthwise convolution, exact GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.dwconv = Depthwise(hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, shape: Sequence[int]) -> Tensor:
        return cast(Tensor, self.fc2(F.gelu(self.dwconv(self.fc1(tokens), shape))))


class Block(nn.Module):
    """Pre-norm reduced attention and convolutional MLP; (B, D, H, W) -> (B, D, H, W)."""

    def __init__(self, pair: int, rate: float) -> None:
        super().__init__()
        width = WIDTHS[pair]
        self.rate = rate
        self.norm1 = layer_norm(width)
        self.attn = ReducedAttention(width, HEADS[pair], REDUCTIONS[pair])
        self.norm2 = layer_norm(width)
        self.mlp = ConvolutionalMLP(width, RATIOS[pair] * width)

    def forward(self, features: Tensor) -> Tensor:
        shape = features.shape[1:]
        tokens = as_tokens(features)
        tokens = tokens + drop_path(self.attn(self.norm1(tokens), shape), self.rate, self.training)
        tokens = tokens + drop_path(self.mlp(self.norm2(tokens), shape), self.rate, self.training)
        return as_map(tokens, shape)


class PatchEmbedding(nn.Module):
    """One strided convolution over overlapping patches, and a layer norm; (B, C, H, W) -> (B, D, h, w)."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2)
        self.norm = layer_norm(width)

    def forward(self, features: Tensor) -> Tensor:
        return _normed(self.norm, self.proj(features))


class PVTv2(Transformer):
    """Four pairs of blocks; layers `stem`, `stage1..8`, `pooled`."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, *_ = image_shape
        rates = drop_rates(2 * PAIRS)
        for pair, before in enumerate((channels, *WIDTHS[:-1])):
            embedding = PatchEmbedding(before, WIDTHS[pair], KERNELS[pair], STRIDES[pair])
            self.add_module(f"patch_embed{pair + 1}", embedding)
            blocks = (Block(pair, rate) for rate in rates[2 * pair : 2 * pair + 2])
            self.add_module(f"block{pair + 1}", nn.ModuleList(blocks))
            self.add_module(f"norm{pair + 1}", layer_norm(WIDTHS[pair]))
        self.head = nn.Linear(WIDTHS[-1], num_classes)
        init_truncated(self)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

        maps = pyramid("PVTv2", WIDTHS, image_shape)
        stages = {f"stage{number}": maps[(number - 1) // 2] for number in range(1, 2 * PAIRS + 1)}
        self.shapes = {"stem": maps[0], **stages, "pooled": (WIDTHS[-1],), "logits": (num_classes,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        steps: dict[str, Callable[[Tensor], Tensor]] = {"stem": self.get_submodule("patch_embed1")}
        for stage, modules in self._stages.items():
            steps[stage] = partial(_stage, modules)
        return {**steps, "pooled": lambda features: self._last_norm(as_tokens(features)).mean(1)}

    @property
    def classifier(self) -> nn.Linear:
        return self.head

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        stem = (self.get_submodule("patch_embed1"),)
        return {"stem": stem, **self._stages, "pooled": (self._last_norm,), "classifier": (self.head,)}

    @property
    def _last_norm(self) -> nn.Module:
        return self.get_submodule(f"norm{PAIRS}")

    @property
    def _stages(self) -> dict[str, tuple[nn.Module, ...]]:
        """Per stage its block; a pair's first also has the norm behind the pair before it and its own embedding."""
        stages: dict[str, tuple[nn.Module, ...]] = {}
        for number in range(1, 2 * PAIRS + 1):
            pair, second = divmod(number - 1, 2)
            names = [] if second or not pair else [f"norm{pair}", f"patch_embed{pair + 1}"]
            modules = (self.get_submodule(name) for name in (*names, f"block{pair + 1}.{second}"))
            stages[f"stage{number}"] = tuple(modules)
        return stages


def _normed(norm: nn.Module, features: Tensor) -> Tensor:
    """(B, C, H, W) -> the same: a layer norm over the channels."""
    return as_map(norm(as_tokens(features)), features.shape[1:])


def _stage(modules: tuple[nn.Module, ...], features: Tensor) -> Tensor:
    *opening, block = modules
    if opening:
        norm, embedding = opening
        features = embedding(_normed(norm, features))
    return cast(Tensor, block(features))


MODELS.add("pvtv2_b0")(
    ModelEntry(
        "pvtv2_b0", "pvtv2", PVTv2, printed="PVTv2-B0", native=224, smallest=SMALLEST, published={"cifar100": 77.44}
    )
)
