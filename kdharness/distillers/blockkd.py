"""Block-KD: the student's first blocks continued by the teacher's last ones are stepping-stones between the two."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from kdharness.core.errors import IncompatiblePair
from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Needs, NetworkView, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Temperature, Weight
from kdharness.distillers.losses import cross_entropy, in_full, softened_kl
from kdharness.distillers.maps import as_weights, resized
from kdharness.distillers.registry import DISTILLERS
from kdharness.models.correspondence import matched_stages

Stones = Annotated[
    str,
    Field(
        pattern=r"^(all|stage[1-9][0-9]?=stage[1-9][0-9]?( stage[1-9][0-9]?=stage[1-9][0-9]?)*)$",
        description="Where stones change over: `all`, after each stage that corresponds to one of the teacher's but "
        "the last; or those named, the student's first: `stage2=stage2` (fewer stones are the paper's light variant).",
    ),
]


@DISTILLERS.add("blockkd")
class BlockKD(Distiller):
    """`L = sum over i = 1..n of (ce_weight CE(z_i, y) + kd_weight D(z_i, t) + cross_weight D(z_i, e)) / 2^(n-i)`.

    Yu et al., IEEE TAI 2024 (arXiv 2411.01547). z_n = s are the student's logits. Stone i < n runs the student up
    to its i-th stage, a connector, and the teacher's remaining stages and classifier, which stay frozen; z_i are its
    logits. The connectors learn with the student and are dropped after training.

    No code is public. What was found of the paper gives the stones, the coefficients 2^(n-i) and the three parts; the
    rest is chosen here: D is KD's divergence with T²; e, the mean of the stones' logits, is not differentiated; all
    weights are 1 and T is 4; the n pairs of stages are those of `models.correspondence`; a connector brings the map to
    the teacher's size (averaged or repeated), then is a 1x1 convolution without bias and a batch norm, without ReLU.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        kd_weight: Annotated[Weight, Field(description="Weight of the divergences to the teacher.")] = 1.0
        cross_weight: Annotated[Weight, Field(description="Weight of the divergences to the mean of the stones.")] = 1.0
        temperature: Annotated[Temperature, Field(description="Divides all logits (T).")] = 4.0
        stones: Stones = "all"

    config: Config
    paper = "Yu, Zhang, Chen, Wang, Liu, Tan, Li, IEEE TAI 2024 (arXiv 2411.01547). No public code."
    family = "features"
    revision = 2
    places: tuple[tuple[str, str], ...] = ()

    @property
    def needs(self) -> Needs:
        return Needs(stages=tuple(ours for ours, _ in self.places), tails=True)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """One connector per stone. Raises IncompatiblePair."""
        self.places = places_of(self.config.stones, student, teacher)
        self.shares = [0.5 ** (len(self.places) - i) for i in range(len(self.places))]
        connectors = []
        for ours, theirs in self.places:
            for network, view, layer in (("student", student, ours), ("teacher", teacher, theirs)):
                if len(view.shapes.get(layer, ())) != 3:
                    known = ", ".join(view.shapes)
                    raise IncompatiblePair(
                        f"blockkd changes over at {layer!r}, which the {network} lacks; it has {known}",
                        remedy="name stages that they have: `stones: stage1=stage1`",
                    )
            if f"{theirs}.tokens" in teacher.shapes:
                raise IncompatiblePair(
                    f"blockkd cannot continue the teacher from the map {theirs!r}: it passes on further tokens",
                    remedy="name a stage that passes on nothing but a map, or take a convolutional teacher",
                )
            connectors.append(Connector(student.shapes[ours], teacher.shapes[theirs]))
        self.teacher, self.connectors = teacher, nn.ModuleList(connectors)
        return self.connectors

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        stones = [
            in_full(self.teacher.forward_from(theirs, connector(student.stages[ours])).logits)
            for (ours, theirs), connector in zip(self.places, self.connectors, strict=True)
        ]
        ensemble = torch.stack(stones).mean(dim=0).detach()
        each = [*zip(self.shares, stones, strict=True), (1.0, student.logits)]
        temperature = self.config.temperature
        return batch.terms(
            {
                "ce": lambda: torch.stack([share * cross_entropy(z, batch.labels) for share, z in each]).sum(),
                "kd": lambda: torch.stack(
                    [share * softened_kl(z, teacher.logits, temperature) for share, z in each]
                ).sum(),
                "cross": lambda: torch.stack(
                    [share * softened_kl(z, ensemble, temperature) for share, z in each]
                ).sum(),
            }
        )

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "kd": self.config.kd_weight, "cross": self.config.cross_weight}


def places_of(stones: str, student: NetworkView, teacher: NetworkView) -> tuple[tuple[str, str], ...]:
    """(the student's last stage in a stone, the teacher's stage that it replaces), shallow first.

    Raises IncompatiblePair where one network has a single stage.
    """
    if stones != "all":
        return tuple((ours, theirs) for ours, _, theirs in (place.partition("=") for place in stones.split()))
    *places, _ = matched_stages(student.shapes, teacher.shapes)
    if not places:
        raise IncompatiblePair(
            f"blockkd changes over between stages; the student has {', '.join(student.shapes)} and the teacher "
            f"{', '.join(teacher.shapes)}"
        )
    return tuple(places)


class Connector(nn.Module):
    """The student's map (C, H, W) at the teacher's shape: size, then 1x1 convolution and batch norm."""

    def __init__(self, student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
        super().__init__()
        self.size = teacher[1:]
        self.conv = nn.Conv2d(student[0], teacher[0], 1, bias=False)
        self.bn = nn.BatchNorm2d(teacher[0])

    def forward(self, features: Tensor) -> Tensor:
        normalized: Tensor = self.bn(self.conv(resized(as_weights(features, self), self.size)))
        return normalized
