"""DeiT-Ti: a plain vision transformer of twelve blocks of width 192 on patches of 16 pixels.

Touvron et al., ICML 2021, as tiny-transformers has it, with its keys; the classifiers start at zero. Every stage passes
on a class token beside the patches, so that it is continued from `stageK.tokens`.

The distilled form has a second token with a head of its own. While it trains, `logits` are the class head's alone and
those of the second head stand beside them as the layer `distill_logits`; in eval mode `logits` are the mean of both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from kdharness.core.types import ModelEntry, Outputs
from kdharness.models.registry import MODELS
from kdharness.models.transformer import (
    Block,
    Transformer,
    as_tokens,
    drop_rates,
    init_truncated,
    layer_norm,
    patch_grid,
)

WIDTH, DEPTH, HEADS, RATIO, PATCH = 192, 12, 3, 4, 16
LAST = f"stage{DEPTH}.tokens"


class PatchEmbedding(nn.Module):
    """One strided convolution over patches that do not overlap; (B, C, H, W) -> (B, patches, D)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(channels, WIDTH, PATCH, PATCH)

    def forward(self, images: Tensor) -> Tensor:
        return as_tokens(self.projection(images))


class DeiT(Transformer):
    """Patches and class token through twelve blocks; layers `stem`, `stage1..12`, each with `.tokens`, `pooled`."""

    def __init__(self, distilled: bool, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        grid = patch_grid("DeiT", image_shape, PATCH, PATCH)
        tokens = (2 if distilled else 1) + grid[0] * grid[1]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, WIDTH))
        self.distill_token = nn.Parameter(torch.zeros(1, 1, WIDTH)) if distilled else None
        self.patch_embed = PatchEmbedding(image_shape[0])
        blocks = (Block(WIDTH, HEADS, RATIO, rate) for rate in drop_rates(DEPTH))
        self._modules["layers"] = nn.ModuleList(blocks)  # the checkpoints' key, and the name of the seam's property
        self.norm = layer_norm(WIDTH)
        self.head = nn.Linear(WIDTH, num_classes)
        self.distill_head = nn.Linear(WIDTH, num_classes) if distilled else None
        init_truncated(self)
        for parameter in (self.cls_token, self.pos_embed, self.distill_token):
            if parameter is not None:
                nn.init.trunc_normal_(parameter, std=0.02)
        for head in (self.head, self.distill_head):
            if head is not None:
                nn.init.zeros_(head.weight)

        shapes: dict[str, tuple[int, ...]] = {}
        for stage in ("stem", *(f"stage{number}" for number in range(1, DEPTH + 1))):
            shapes |= {f"{stage}.tokens": (tokens, WIDTH), stage: (WIDTH, *grid)}
        second: dict[str, tuple[int, ...]] = {"distill_logits": (num_classes,)} if distilled else {}
        self.shapes = {**shapes, **second, "pooled": (WIDTH,), "logits": (num_classes,)}

    @property
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        blocks = {f"{stage}.tokens": block for stage, block in self._stages.items()}
        return {"stem.tokens": self._embed, **blocks, "pooled": lambda tokens: self.norm(tokens[:, 0])}

    @property
    def classifier(self) -> nn.Linear:
        return self.head

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        tokens = [token for token in (self.cls_token, self.pos_embed, self.distill_token) if token is not None]
        stages = {stage: (block,) for stage, block in self._stages.items()}
        second = {"distill_logits": (self.distill_head,)} if self.distill_head is not None else {}
        stem = (self.patch_embed, nn.ParameterList(tokens))
        return {"stem": stem, **stages, "pooled": (self.norm,), **second, "classifier": (self.head,)}

    def forward_from(self, stage: str, features: Tensor, *, update_statistics: bool = False) -> Outputs:
        """See NetworkView.forward_from; the distilled form does not continue from `pooled`, which one head reads."""
        if stage == "pooled" and self.distill_head is not None:
            raise KeyError(f"'pooled' lacks the token of the second head; continue from {LAST!r}")
        return super().forward_from(stage, features, update_statistics=update_statistics)

    @property
    def _stages(self) -> dict[str, nn.Module]:
        blocks = cast(nn.ModuleList, self._modules["layers"])
        return {f"stage{number}": block for number, block in enumerate(blocks, start=1)}

    def _embed(self, images: Tensor) -> Tensor:
        in_front = [
            token.expand(len(images), -1, -1) for token in (self.cls_token, self.distill_token) if token is not None
        ]
        return torch.cat((*in_front, self.patch_embed(images)), 1) + self.pos_embed

    def _run(self, features: Tensor, steps: Mapping[str, Callable[[Tensor], Tensor]]) -> Outputs:
        outputs = super()._run(features, steps)
        if self.distill_head is None:
            return outputs
        second = self.distill_head(self.norm(outputs.stages.get(LAST, features)[:, 1]))
        logits = outputs.logits if self.training else (outputs.logits + second) / 2
        return replace(outputs, logits=logits, stages={**outputs.stages, "distill_logits": second})


def _build(distilled: bool, num_classes: int, image_shape: tuple[int, int, int]) -> DeiT:
    return DeiT(distilled, num_classes, image_shape)


MODELS.add("deit_tiny", "DeiT_Ti")(
    ModelEntry(
        "deit_tiny",
        "deit",
        partial(_build, False),
        printed="DeiT-Ti",
        native=224,
        smallest=PATCH,
        published={"cifar100": 65.08},
    )
)
MODELS.add("deit_tiny_distilled", "DeiT_Ti_distilled")(
    ModelEntry(
        "deit_tiny_distilled", "deit", partial(_build, True), printed="DeiT-Ti (distilled)", native=224, smallest=PATCH
    )
)
