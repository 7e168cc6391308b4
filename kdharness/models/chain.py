"""What every CNN of the zoo shares: a network as a chain of named layers that can be continued from any of them."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import reduce

from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import Model, Outputs
from kdharness.models.statistics import kept_statistics


class Chain(Model):
    """A network that says only how each named layer comes from the one before it.

    A family writes `steps`, `shapes`, `classifier`, `batch_norms` and `layers`; forward pass and tails are here.
    """

    @property
    @abstractmethod
    def steps(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """In order: `stem` from the images, then every layer (`stageN.preact` too) from the one before, then `pooled`.

        No step may change its input in place: that is the layer before it, which is an output.
        """

    def forward(self, images: Tensor) -> Outputs:
        return self._run(images, self.steps)

    def forward_from(self, stage: str, features: Tensor, *, update_statistics: bool = False) -> Outputs:
        """See NetworkView.forward_from; also takes `pooled` and every `.preact` of the network."""
        steps = self.steps
        if stage not in steps:
            raise KeyError(f"no layer {stage!r} to continue from; there are {', '.join(steps)}")
        names = list(steps)
        later = names[names.index(stage) + 1 :]
        with nullcontext() if update_statistics else kept_statistics((self,)):
            return self._run(features, {name: steps[name] for name in later})

    def _run(self, features: Tensor, steps: Mapping[str, Callable[[Tensor], Tensor]]) -> Outputs:
        outputs: dict[str, Tensor] = {}
        for name, step in steps.items():
            outputs[name] = features = step(features)
        pooled = outputs.pop("pooled", features)
        return Outputs(self.classifier(pooled), pooled, outputs)


def layer_shapes(
    size: tuple[int, int], steps: Iterable[str], channels: Iterable[int], strides: Iterable[int]
) -> dict[str, tuple[int, ...]]:
    """Shapes of the layers named in `steps` up to `pooled`, where stage k has `channels[k]` and strides round up.

    A `.preact` has the shape of its stage, whichever of the two comes first.
    """
    height, width = size
    of_stage: dict[str, tuple[int, ...]] = {}
    plan = iter(zip(channels, strides, strict=True))
    shapes: dict[str, tuple[int, ...]] = {}
    for name in steps:
        stage = name.partition(".")[0]
        if name == "pooled":
            break
        if stage not in of_stage:
            wide, stride = next(plan)
            height, width = -(-height // stride), -(-width // stride)
            of_stage[stage] = (wide, height, width)
        shapes[name] = of_stage[stage]
    return shapes


def relu_(fresh: Tensor) -> Tensor:
    """ReLU in the memory of a tensor that nothing else reads, as a batch norm's output or a sum is: with the same bits,
    in less time and memory."""
    return F.relu(fresh, inplace=True)


def before_last_relu(blocks: nn.Sequential, features: Tensor, activate: Callable[[Tensor], Tensor] = relu_) -> Tensor:
    """Through blocks that end before their ReLU, with `activate` between each two but not after the last."""
    *earlier, last = blocks
    return last(reduce(lambda passed, block: activate(block(passed)), earlier, features))


def pool(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C): the mean over the image, whatever its size.

    Pixels that lie channels last are averaged as rows, with the same bits: so their gradient lies as they do, and the
    ReLU before them need not read across memory, ten times as long.
    """
    if features.is_contiguous():
        return F.adaptive_avg_pool2d(features, 1).flatten(1)
    return features.permute(0, 2, 3, 1).flatten(1, 2).mean(1)


def init_fan_out(network: nn.Module) -> None:
    """Convolutions normal with variance 2 / (k k out_channels); their biases, where they have any, 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
