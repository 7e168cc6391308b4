"""FCFD: features of the student that the rest of the teacher reads as it reads its own, and the other way round."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.errors import IncompatiblePair
from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Needs, NetworkView, Outputs
from kdharness.distillers.bridges import bridge
from kdharness.distillers.constants import CrossEntropyWeight, Temperature, Warmup, Weight
from kdharness.distillers.layers import LayerPairs, Layers, comparing, layer_pairs
from kdharness.distillers.losses import cross_entropy, in_full, softened_kl, warmed_up
from kdharness.distillers.maps import as_weights
from kdharness.distillers.registry import DISTILLERS

Path = tuple[Literal["student", "teacher"], int]
"""Whose network a mixed path begins with, and the number of the pair of stages after which it changes over."""
Read = Annotated[
    Literal["passed", "preact"],
    Field(description="Which of a stage's maps is bridged: what the network passes on, or that before its ReLU."),
]


@DISTILLERS.add("fcfd")
class FCFD(Distiller):
    """`L = ce_weight CE(s, y) + kd_weight D(s, t) + mixed_weight sum over paths D(z, t) + w(epoch) feature_weight F`.

    Liu et al., ICLR 2023 (Function-Consistent Feature Distillation), section 3. Bridges bring stages of one
    network to the shape of the other's. A mixed path runs one network up to a stage, a bridge, and the other from
    there: z are its logits, D is KD's divergence. Each step draws two of the paths that change over after a stage that
    is neither the stem nor the last. F sums, at every stage of the teacher, the mean squared differences to its own
    map: of the bridged student (appearance) and of the teacher behind a bridge of an earlier stage (function); at the
    last stage also those of the averages behind a ReLU. `w` grows linearly to 1 over `warmup` epochs.

    Choices of the code: a bridge is a 3x3 convolution (stride 2 where the map is twice as high, transposed 4x4 where
    half) with batch norm, and leaky ReLU (0.1) where it stands for a map behind a ReLU; the teacher runs in train mode;
    batch norms of the rest of a path use the batch and leave their running statistics alone. Maps are those that a
    network passes on (`preact` takes those before their ReLU, as the code does for VGG and ShuffleNet). The last bridge
    to the student, which no path uses, is left out. The paths are drawn from the seed of the step's generator.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        kd_weight: Annotated[Weight, Field(description="Weight of the student's own divergence.")] = 1.0
        mixed_weight: Annotated[Weight, Field(description="Weight of each mixed path's divergence.")] = 1.0
        feature_weight: Annotated[Weight, Field(description="Weight of the features (the L2 part).")] = 5.0
        temperature: Annotated[Temperature, Field(description="Divides all logits (T).")] = 4.0
        warmup: Annotated[Warmup, Field(description="Epochs over which the features grow to their weight.")] = 20
        paths: Annotated[int, Field(strict=True, ge=0, le=64, description="Mixed paths drawn in each step.")] = 2
        student_map: Read = "passed"
        teacher_map: Read = "passed"
        layers: Layers = "all"

    config: Config
    paper = "Liu, Kan, Shan, Chen, ICLR 2023. Equals FCFD 2aefb7b, classification/models/meta.py and cifar/main.py."
    family = "features"
    revision = 1
    preset = "liu2023fcfd"
    pairs: LayerPairs = ()

    @property
    def needs(self) -> Needs:
        needs = comparing(self.pairs)
        return Needs(needs.teacher, "train", needs.stages, needs.teacher_stages, tails=True, random=True)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """Bridges to the teacher (`0`) and to the student (`1`) of every pair of stages. Raises IncompatiblePair."""
        forms = {"passed": "", "preact": ".preact"}
        self.pairs = layer_pairs(
            "fcfd",
            self.config.layers,
            student,
            teacher,
            student_form=forms[self.config.student_map],
            teacher_form=forms[self.config.teacher_map],
        )
        if len(self.pairs) < 2:
            raise IncompatiblePair(f"fcfd changes over between stages and needs two pairs of them, not {self.pairs}")
        self.student, self.teacher = student, teacher
        self.bridges = nn.ModuleDict()
        for number, (ours, theirs) in enumerate(self.pairs, 1):
            both = {"0": {"1": bridge(student.shapes[ours], teacher, theirs)}}
            if number < len(self.pairs):
                both["1"] = {"0": bridge(teacher.shapes[theirs], student, ours)}
            self.bridges[str(number)] = nn.ModuleDict({to: nn.ModuleDict(one) for to, one in both.items()})
        changes = range(1, len(self.pairs))
        self.candidates: list[Path] = [(first, number) for first in ("student", "teacher") for number in changes]
        return self.bridges

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        paths = self.drawn(batch)
        bridged = {
            number: self.bridged(number, "0", "1", student.stages[ours])
            for number, (ours, _) in enumerate(self.pairs, 1)
        }
        imitations = list(bridged.items())
        mixed = [torch.zeros_like(in_full(student.logits[0, 0]))]
        for first, number in paths:
            ours, theirs = self.pairs[number - 1]
            if first == "student":
                rest = self.teacher.forward_from(theirs, bridged[number])
                imitations += [
                    (later, rest.stages[layer]) for later, (_, layer) in enumerate(self.pairs, 1) if later > number
                ]
            else:
                rest = self.student.forward_from(ours, self.bridged(number, "1", "0", teacher.stages[theirs]))
            mixed.append(softened_kl(rest.logits, teacher.logits, self.config.temperature))
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "kd": lambda: softened_kl(student.logits, teacher.logits, self.config.temperature),
                "mixed": lambda: torch.stack(mixed).sum(),
                "feature": lambda: torch.stack(
                    [self.difference(number, features, teacher) for number, features in imitations]
                ).sum(),
            }
        )

    def weights(self, epoch: int) -> Mapping[str, float]:
        config = self.config
        return {
            "ce": config.ce_weight,
            "kd": config.kd_weight,
            "mixed": config.mixed_weight,
            "feature": warmed_up(config.feature_weight, epoch, config.warmup),
        }

    def drawn(self, batch: Batch) -> list[Path]:
        """This step's mixed paths, all different; from the generator's seed, which the host knows without a wait."""
        generator = torch.Generator().manual_seed(batch.generator.initial_seed())
        order = torch.randperm(len(self.candidates), generator=generator).tolist()
        return [self.candidates[number] for number in order[: self.config.paths]]

    def bridged(self, number: int, to: str, come_from: str, features: Tensor) -> Tensor:
        across: Tensor = self.bridges.get_submodule(f"{number}.{to}.{come_from}")(as_weights(features, self.bridges))
        return across

    def difference(self, number: int, features: Tensor, teacher: Outputs) -> Tensor:
        """What a map in the teacher's space lacks to the teacher's own: -> ()."""
        own = in_full(teacher.stages[self.pairs[number - 1][1]])
        whole = F.mse_loss(features, own)
        if number < len(self.pairs):
            return whole
        return whole + F.mse_loss(F.relu(features).mean((2, 3)), F.relu(own).mean((2, 3)))
