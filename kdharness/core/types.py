"""The seams that carry tensors. Axes: B batch, K classes, C H W image, D pooled features.

Student first, teacher second, everywhere. Layers have names (`stem`, `stage1..N`, `pooled`, `stageN.preact` for a
stage's output before its last ReLU, `stageN.tokens` for what a transformer passes on, and `head` for the map that a
network makes of its last stage before it pools, where it does), never list positions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NoReturn, Protocol

import torch
from torch import Tensor, nn

from kdharness.core.keys import Frozen


@dataclass(frozen=True)
class Outputs:
    """What a network says about a batch of images."""

    logits: Tensor
    """(B, K)"""
    pooled: Tensor
    """(B, D), before the classifier."""
    stages: Mapping[str, Tensor] = field(default_factory=dict)
    """By layer name, (B, C, H, W); `stageN.tokens` are (B, T, D)."""
    second: "Outputs | None" = None
    """The outputs for the second view of the same images."""

    def each(self, change: Callable[[Tensor], Tensor]) -> "Outputs":
        """With every tensor changed, those of the second view too; what is withheld stays so."""
        return Outputs(
            change(self.logits),
            self.pooled if isinstance(self.pooled, Withheld) else change(self.pooled),
            {name: change(value) for name, value in self.stages.items()},
            self.second.each(change) if self.second is not None else None,
        )

    def detach(self) -> "Outputs":
        """The same values, cut from the graph."""
        return self.each(Tensor.detach)

    def only(self, stages: Sequence[str], *, pooled: bool = True) -> "Outputs":
        """Without the stages, and without `pooled` the pooled features, that nobody declared a need for.

        Raises KeyError for a stage the network lacks.
        """
        return Outputs(
            self.logits,
            self.pooled if pooled else _WITHHELD,
            {name: self.stages[name] for name in stages},
            self.second.only(stages, pooled=pooled) if self.second is not None else None,
        )


class Withheld(Tensor):
    """Stands where pooled features would, for a method that did not declare that it reads the teacher's."""

    @classmethod
    def __torch_function__(cls, *_: object) -> NoReturn:
        """Raises RuntimeError, whatever is done with it."""
        raise RuntimeError("reads the teacher's pooled features, but `needs.teacher_pooled` is False")


_WITHHELD = Withheld()


@dataclass(frozen=True)
class Batch:
    """What a loss may know of the step besides the networks' outputs."""

    images: Tensor
    """(B, C, H, W), normalised and augmented."""
    labels: Tensor
    """(B,) int64"""
    index: Tensor
    """(B,) int64: position in the full official train split, whatever part of it is trained on."""
    epoch: Tensor
    """0-d int64, from 1."""
    step: Tensor
    """0-d int64: steps of the main training before this one, from 0."""
    generator: torch.Generator
    """The step's own generator, seeded from (seed, epoch, step)."""
    second_view: Tensor | None = None
    """(B, C, H, W): the images of the second, strong view."""
    active: frozenset[str] = frozenset()
    """The loss terms whose weight is not 0 in this epoch; empty where nobody says so: all."""

    def terms(self, each: Mapping[str, Callable[[], Tensor]]) -> dict[str, Tensor]:
        """Those of the terms that are active, computed; what the others reach is left a gradient of 0 by the engine."""
        return {term: compute() for term, compute in each.items() if not self.active or term in self.active}


@dataclass(frozen=True)
class Needs:
    """What a distiller asks of the engine; what it does not name it is not given."""

    teacher: Literal["none", "architecture", "weights"] = "weights"
    teacher_mode: Literal["eval", "train"] = "eval"
    """`train` runs the teacher on batch statistics, on the run's own copy of it."""
    stages: tuple[str, ...] = ()
    """Layers of the student (`stage2`, `stage3.preact`) that `losses` reads."""
    teacher_stages: tuple[str, ...] = ()
    teacher_pooled: bool = False
    """Reads the teacher's `pooled`; its `logits` are always there."""
    tails: bool = False
    """Calls `forward_from` of the views it was built with."""
    views: Literal[1, 2] = 1
    train_labels: bool = False
    """`build` reads `context.train_labels`."""
    peer: bool = False
    """A second student of the teacher's architecture learns beside the first; `losses` is called with the roles
    exchanged for it, the other side detached."""
    random: bool = False
    """Draws from `batch.generator`."""


class NetworkView(Protocol):
    """What a distiller may know and use of a network."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Per layer name (also `pooled` and `logits`) the shape of one image's output, without the batch."""
        ...

    @property
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        """Per stage the batch norm in front of its last ReLU, for OFD's margins; stages without one are absent."""
        ...

    @property
    def classifier(self) -> nn.Linear:
        """The layer from pooled features to logits.

        A network with a second head shows that head's logits as the layer `distill_logits`: its `logits` are the
        classifier's in train mode and the mean of both heads' in eval mode.
        """
        ...

    @property
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        """Per layer name the modules that make it, and `classifier`: what a phase names as trainable.

        Together they hold every parameter. Those that the network keeps outside its modules (a class token, a position
        embedding) stand in an `nn.ParameterList` beside the modules of their layer.
        """
        ...

    def forward_from(self, stage: str, features: Tensor, *, update_statistics: bool = False) -> Outputs:
        """Continue with the tensor that the network itself passes on after `stage`; later stages, pooled and logits.

        A transformer that passes on more than the map `stageK` (a class token) passes on the layer `stageK.tokens`,
        (B, T, D) with the patches last: it continues from that, and from the bare map raises KeyError, which names it.

        Gradients flow through. Batch norms in train mode use the batch but leave their running statistics alone
        unless `update_statistics`. Raises KeyError for a layer the network lacks or does not pass on.
        """
        ...


class Model(nn.Module, ABC):
    """A network of the zoo: fulfils NetworkView and returns all its named outputs.

    `state_dict` keys are those of the released checkpoints. `shapes` are at the image size it was built for.
    """

    shapes: Mapping[str, tuple[int, ...]]

    # Properties: a module kept under a second name would add keys to the state_dict.
    @property
    @abstractmethod
    def batch_norms(self) -> Mapping[str, nn.BatchNorm2d]:
        """See NetworkView.batch_norms."""

    @property
    @abstractmethod
    def classifier(self) -> nn.Linear:
        """See NetworkView.classifier."""

    @property
    @abstractmethod
    def layers(self) -> Mapping[str, Sequence[nn.Module]]:
        """See NetworkView.layers."""

    @abstractmethod
    def forward(self, images: Tensor) -> Outputs:
        """(B, C, H, W) -> Outputs with every stage, `.preact` and `.tokens` that the network has.

        What it draws at random (drop path) comes from torch's global generator, and only in train mode.
        """

    @abstractmethod
    def forward_from(self, stage: str, features: Tensor, *, update_statistics: bool = False) -> Outputs:
        """See NetworkView.forward_from."""


@dataclass(frozen=True)
class ModelEntry:
    """How the zoo makes a network: `build(num_classes, image_shape)` with image_shape (C, H, W)."""

    name: str
    family: str
    build: Callable[[int, tuple[int, int, int]], Model]
    revision: int = 1
    printed: str = ""
    """As papers print it: ResNet32×4, WRN-40-2."""
    native: int = 32
    """Pixels of a side of the images that the literature gives it."""
    classes: int = 100
    """Of the networks that the literature counts and releases."""
    smallest: int = 8
    """Pixels of a side of the smallest images that it takes; it takes every power of two times that."""
    published: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Dataset -> test top-1 accuracy (%) when trained on labels alone, as papers print it."""


@dataclass(frozen=True)
class BuildContext:
    """What `build` may know besides the two networks."""

    num_classes: int
    train_size: int
    """Images in the full official train split: the length of a memory bank indexed by `batch.index`."""
    image_shape: tuple[int, int, int]
    train_labels: Tensor | None = None
    """(train_size,) int64, only where `needs.train_labels`; -1 for images that this run does not train on."""


@dataclass(frozen=True)
class Phase:
    """A stage of training before the main epochs, with its own loss (AB, FSP, FT)."""

    name: str
    epochs: int
    trainable: Sequence[nn.Module]
    lr: float
    losses: Callable[[Outputs, Outputs, Batch], Mapping[str, Tensor]]
    """As `Distiller.losses`, already weighted."""
    batch_norm: Literal["train", "eval"] = "train"
    """Mode of the student's batch norms."""


@dataclass(frozen=True)
class Epochs:
    """Marks a constant that counts epochs, so that a shorter schedule scales it: `Annotated[int, Epochs()]`."""

    is_phase: bool = False
    """Of a phase before the main epochs, not among them."""


class DistillerConfig(Frozen):
    """Base of every distiller's `Config`: its constants with their defaults, frozen, unknown keys refused."""


class Distiller(ABC):
    """One method of knowledge distillation: the mathematics, and the adapters it owns.

    One instance serves one run. It touches neither optimizer nor loop, device, files or global random state.
    Members without an abstract mark are optional; their default does nothing.
    """

    Config: ClassVar[type[DistillerConfig]]
    paper: ClassVar[str]
    """Authors, venue and year, and the commit of the code it equals."""
    revision: ClassVar[int]
    """Bumped by any change that moves a number."""
    family: ClassVar[Literal["logits", "features", "relations", "control"]] = "logits"
    """What the student learns from: logits, feature maps, relations among images or layers, or no teacher at all."""
    preset: ClassVar[str | None] = None
    """The preset whose constants it uses where the study names none; None for the defaults of its Config."""
    order_matters: ClassVar[str] = ""
    """Why the order of the images in a batch moves its terms; empty where it does not."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    @abstractmethod
    def needs(self) -> Needs:
        """What this configuration asks of the engine; its layers may be named only once `build` has chosen them."""

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """Make and keep the adapters; return them as one module (empty by default).

        Every tensor that must survive a resume is a parameter or a buffer of it. Parameters that require grad are
        trained with the student. Where `needs.teacher` is "none", `teacher` is the student's own view.
        Raises IncompatiblePair with the layer and both shapes.
        """
        return nn.Module()

    @abstractmethod
    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """Term name -> scalar, unweighted. Where `needs.teacher` is "none", `teacher` is the student's, detached."""

    @abstractmethod
    def weights(self, epoch: int) -> Mapping[str, float]:
        """Term name -> its weight in `epoch` (from 1), warm-up included."""

    def phases(self) -> Sequence[Phase]:
        """What to train before the main epochs. Called after `build`."""
        return ()

    def predict(self, student: Outputs, teacher: Outputs) -> Tensor:
        """(B, K): the logits by which the trained student is judged; its own by default (SimKD, CAT-KD differ)."""
        return student.logits

    def after_step(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        """Called without gradient after each optimizer step, with that step's outputs: memory banks."""


Crops = Callable[[Tensor, Tensor], Tensor]
"""Heights and widths of pictures, (B,) each -> (B, 5) int64: top, left, height, width and, as 0 or 1, mirrored."""


class ImageSource(Protocol):
    """Images too many to be resident: decoded where and when they are wanted. It pickles, for worker processes."""

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: Tensor | slice) -> "ImageSource":
        """Those under a mask (N,) bool, or a part of them in order."""
        ...

    def decode(self, positions: Sequence[int], crops: Crops | None = None) -> Tensor:
        """(B, C, H, W) uint8, stored channels last: each picture's crop, brought to the images' size.

        Without crops the part that test images are judged by. Raises BadInput naming a file that is no image.
        """
        ...


@dataclass(frozen=True)
class Split:
    """A part of a dataset: its labels resident, its images too or, where they are too many, decoded when wanted."""

    images: "Tensor | ImageSource"
    """(N, C, H, W) uint8"""
    labels: Tensor
    """(N,) int64"""
    index: Tensor
    """(N,) int64: position in the full official split it was taken from."""


@dataclass(frozen=True)
class Normalization:
    """Per channel: (pixel / 255 - mean) / std."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Dataset(Protocol):
    """Images of K classes with an official train and test split."""

    @property
    def name(self) -> str: ...

    @property
    def num_classes(self) -> int: ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        ...

    @property
    def normalization(self) -> Normalization: ...

    @property
    def fingerprint(self) -> str:
        """A constant of the code for official sets: known without opening the data."""
        ...

    @property
    def train_size(self) -> int: ...

    @property
    def test_size(self) -> int: ...

    @property
    def streamed(self) -> bool:
        """Whether its images are too many to be held in memory and are decoded when they are wanted."""
        ...

    @property
    def recipe(self) -> str:
        """The recipe of a study that names none."""
        ...

    @property
    def teacher_recipe(self) -> str:
        """The recipe of every teacher trained on it, where the study's recipe names none."""
        ...

    def split(self, part: Literal["train", "val", "test"], validation: float = 0.0) -> Split:
        """One part. With `validation` above 0, train is cut into train and val: stratified, a constant of the set.

        Raises SealedSplit for "test" with `validation` above 0 (who sees validation images never sees test images)
        and BadInput for "val" without.
        """
        ...
