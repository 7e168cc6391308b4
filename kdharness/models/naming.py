"""A network's name as papers write it, resolved with the dataset: `resnet50` on CIFAR-100 is not ImageNet's."""

from kdharness.models.registry import MODELS


def model_name(name: str, dataset: str) -> str:
    """The listed name that `name` means on `dataset`. Raises UnknownName.

    A listed name or alias means itself. Otherwise a literature name such as `resnet50` or `ResNet18` is the form for
    the dataset's images: `resnet50_imagenet` on imagenet, `resnet50_cifar` on everything smaller.
    """
    here = f"{name}_{'imagenet' if dataset.lower() == 'imagenet' else 'cifar'}"
    return MODELS.canonical(here if name not in MODELS and here in MODELS else name)
