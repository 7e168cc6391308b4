"""FCFD's bridges: from a map of one network to the shape that the other one passes on."""

from torch import nn

from kdharness.core.errors import IncompatiblePair
from kdharness.core.types import NetworkView


def bridge(shape: tuple[int, ...], network: NetworkView, layer: str) -> nn.Sequential:
    """(B, C, H, W) of `shape` -> the network's layer; keys as in the released code. Raises IncompatiblePair."""
    (channels, *size), (out_channels, *out_size) = shape, network.shapes[layer]
    convolution: nn.Conv2d | nn.ConvTranspose2d
    if size == out_size:
        convolution = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)
    elif size == [2 * side for side in out_size]:
        convolution = nn.Conv2d(channels, out_channels, 3, stride=2, padding=1)
    elif [2 * side for side in size] == out_size:
        convolution = nn.ConvTranspose2d(channels, out_channels, 4, stride=2, padding=1)
    else:
        raise IncompatiblePair(f"fcfd cannot bridge {tuple(shape)} to {layer}, {network.shapes[layer]}")
    if isinstance(convolution, nn.Conv2d):
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    activation = [nn.LeakyReLU(0.1)] if behind_relu(network, layer) else []
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), *activation)


def behind_relu(network: NetworkView, layer: str) -> bool:
    """Whether the network passes a ReLU between the layer's `.preact` and the layer."""
    order = list(network.shapes)
    preact = f"{layer}.preact"
    return preact in order and order.index(preact) < order.index(layer)
