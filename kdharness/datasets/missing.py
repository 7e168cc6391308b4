"""What stands for a folder of images that is not here: a study can be checked and counted with it, not trained."""

from typing import Literal, NoReturn

from kdharness.core.errors import BadInput
from kdharness.core.records import MISSING
from kdharness.core.types import Normalization


class MissingFolder:
    """A dataset of no images. Its sizes and classes are unknown: those of CIFAR-10 stand for them."""

    name = "folder"
    fingerprint = MISSING
    num_classes = 10
    image_shape = (3, 32, 32)
    normalization = Normalization(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    train_size = 50_000
    test_size = 10_000
    streamed = False
    recipe = "cifar10-short"
    teacher_recipe = "cifar10-short"

    def __init__(self, what: str) -> None:
        """`what` says which folder is missing, and where it is looked for."""
        self.what = what

    def split(self, part: Literal["train", "val", "test"], validation: float = 0.0) -> NoReturn:
        """Raises BadInput: there are no images."""
        raise BadInput(self.what)
