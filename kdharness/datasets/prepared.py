"""A folder of images known by its name alone: everything is read from its decoded images."""

from pathlib import Path
from typing import Literal, NoReturn

from kdharness.core.errors import EnvironmentRefused
from kdharness.core.types import Normalization, Split
from kdharness.datasets import cache
from kdharness.datasets.files import CachedImages
from kdharness.datasets.folder import FORMAT, RECIPE

REMEDY = "run the study again, or decode the folder with `kdharness data prepare`"


class PreparedFolder:
    """What jobs open: the folder itself may be gone. Raises EnvironmentRefused where it has not been decoded here."""

    streamed = False
    recipe = RECIPE
    teacher_recipe = RECIPE

    def __init__(self, name: str, data: Path) -> None:
        place = data / name
        about = cache.described(place)
        if about is None or about["format"] != FORMAT or f"folder-{about['fingerprint'][:12]}" != name:
            raise EnvironmentRefused(f"the images of {name} are not decoded in {data}", remedy=REMEDY)
        channels, height, width = about["image_shape"]
        self.name = name
        self.title: str = about["title"]
        self.fingerprint: str = about["fingerprint"]
        self.classes: tuple[str, ...] = tuple(about["classes"])
        self.num_classes = len(self.classes)
        self.image_shape: tuple[int, int, int] = (channels, height, width)
        self.train_size: int = about["train_size"]
        self.test_size: int = about["test_size"]
        self.normalization = Normalization(mean=tuple(about["mean"]), std=tuple(about["std"]))
        self._images = CachedImages(name, place, self.image_shape, self.train_size, self.test_size, self._refuse)

    def split(self, part: Literal["train", "val", "test"], validation: float = 0.0) -> Split:
        """See `Dataset.split`. Raises EnvironmentRefused where the decoded images are damaged."""
        return self._images.split(part, validation)

    def _refuse(self) -> NoReturn:
        raise EnvironmentRefused(f"the decoded images of {self.name} are damaged", remedy=REMEDY)
