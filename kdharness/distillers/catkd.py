"""CAT-KD: where in the image the student finds each class is where the teacher finds it."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Needs, NetworkView, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Weight
from kdharness.distillers.layers import LayerPairs, comparing, pooled_map
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.maps import activated, resized
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("catkd")
class CATKD(Distiller):
    """`L = ce_weight CE(s, y) + cam_weight mean((n(A_s) - n(A_t))²)`, A the class activation maps, K per image.

    Guo et al., CVPR 2023, section 3. A is the classifier's weight applied at every pixel of the last map
    (after its ReLU); a converted network's logits are its averaged A, so the bias is left out of both networks: the
    student is trained, judged and deployed that way, and its bias gets no gradient. A is averaged to
    `resolution` x `resolution`; `normalize` divides each class's map by its L2 norm; the mean is over B K r².

    The code's experiments: `binarize` makes the teacher's maps 1 above their mean absolute value, else 0; `classes`
    keeps the maps of the classes `top` (strictly above the teacher's `class_count`-th largest logit, so one fewer) or
    `bottom` (its code keeps `class_count` + 1 of them, for 100 classes; here for any number).
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        cam_weight: Annotated[Weight, Field(description="Weight of the class activation maps (beta).")] = 400.0
        resolution: Annotated[int, Field(strict=True, ge=1, le=64, description="Height and width compared.")] = 2
        normalize: Annotated[bool, Field(strict=True, description="Divides each class's map by its norm.")] = True
        binarize: Annotated[bool, Field(strict=True, description="Compares with ones and zeros.")] = False
        classes: Annotated[
            Literal["all", "top", "bottom"], Field(description="Whose maps are compared, by the teacher's logits.")
        ] = "all"
        class_count: Annotated[
            int, Field(strict=True, ge=1, le=100_000, description="How many, for top and bottom; see above.")
        ] = 100

    config: Config
    paper = "Guo, Yan, Li, Lin, CVPR 2023. Equals CAT-KD 4467073, mdistiller/distillers/CAT_KD.py."
    family = "features"
    revision = 1
    preset = "guo2023catkd"
    pairs: LayerPairs = ()

    @property
    def needs(self) -> Needs:
        return comparing(self.pairs)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """Choose the maps; there are no adapters. Raises IncompatiblePair."""
        self.pairs = ((pooled_map("catkd", "student", student), pooled_map("catkd", "teacher", teacher)),)
        self.student, self.teacher = student, teacher
        return nn.Module()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        ((ours, theirs),) = self.pairs
        own, other = cams(self.student, ours, student), cams(self.teacher, theirs, teacher)
        logits, target = own.mean((2, 3)), other.mean((2, 3))
        if self.config.binarize:
            other = (other > other.abs().mean((2, 3), keepdim=True)).to(other.dtype)
        if self.config.classes != "all":
            kept = self.kept(target)[:, :, None, None]
            own, other = own * kept, other * kept
        return batch.terms(
            {
                "ce": lambda: cross_entropy(logits, batch.labels),
                "cam": lambda: F.mse_loss(self.compared(own), self.compared(other)),
            }
        )

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "cam": self.config.cam_weight}

    def predict(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The logits without the classifier's bias."""
        return cams(self.student, self.pairs[0][0], student).mean((2, 3))

    def compared(self, maps: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, r, r)"""
        maps = resized(maps, (self.config.resolution, self.config.resolution))
        return F.normalize(maps.flatten(2), dim=2).view_as(maps) if self.config.normalize else maps

    def kept(self, logits: Tensor) -> Tensor:
        """1 for the classes whose maps are compared, else 0: (B, K) -> (B, K)."""
        classes = logits.shape[1]
        count = min(self.config.class_count, classes)
        ordered = logits.sort(dim=1, descending=True).values
        if self.config.classes == "top":
            return (logits > ordered[:, count - 1 : count]).to(logits.dtype)
        place = classes - count - 2
        return (logits < ordered[:, place : place + 1]).to(logits.dtype) if place >= 0 else torch.ones_like(logits)


def cams(network: NetworkView, layer: str, outputs: Outputs) -> Tensor:
    """The class activation maps: -> (B, K, H, W)."""
    weight = network.classifier.weight
    features = activated(layer, in_full(outputs.stages[layer])).to(weight.dtype)
    return F.conv2d(features, weight[:, :, None, None])
