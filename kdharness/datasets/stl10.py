"""STL-10: the labelled part, from the official binary files.

Source: Coates, Lee and Ng, An Analysis of Single-Layer Networks in Unsupervised Feature Learning, AISTATS 2011. Names
and hashes of the files are those that torchvision checks.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.types import Normalization
from kdharness.datasets.cache import Arrays
from kdharness.datasets.files import OfficialImages
from kdharness.datasets.official import OfficialFiles
from kdharness.datasets.official import fingerprint as fingerprint_of
from kdharness.datasets.registry import DATASETS

MOST_BYTES = 4 * 2**30
"""What the archive may unpack to: 3.1 GB, most of it unlabelled images, which are passed over."""


@DATASETS.add("stl10")
class Stl10(OfficialImages):
    """10 classes, 96x96 pixels, 500 images of each for training and 800 for the test.

    The normalisation is CAT-KD's (mean and standard deviation 0.5), whose transfer experiments use this set.
    """

    name = "stl10"
    num_classes = 10
    image_shape = (3, 96, 96)
    train_size = 5_000
    test_size = 8_000
    normalization = Normalization(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    recipe = "cifar10-short"
    teacher_recipe = "cifar10-short"
    url = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
    md5 = "91f7769df0f17e558f3565bffb0c7dfb"
    fingerprint = fingerprint_of(md5, normalization)
    folder = "stl10_binary"
    files: Mapping[str, str] = {
        "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
        "train_y.bin": "5a34089d4802c674881badbb80307741",
        "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
        "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
    }

    @property
    def missing(self) -> str | None:
        if self._files.are_there:
            return None
        archive = self._files.archive.name
        return (
            f"stl10 is not in {self._data}: put {archive} from {self.url} there, or the directory {self.folder} that "
            "it holds; --data names another directory"
        )

    def reread(self) -> Arrays:
        if self.missing is not None:
            raise EnvironmentRefused(self.missing)
        source, files = self._files.read()
        arrays: dict[str, NDArray[Any]] = {}
        for part, size in (("train", self.train_size), ("test", self.test_size)):
            pixels = np.frombuffer(files.pop(f"{part}_X.bin"), np.uint8)
            labels = np.frombuffer(files.pop(f"{part}_y.bin"), np.uint8).astype(np.int64) - 1  # 1 to 10 there
            channels, height, width = self.image_shape
            if pixels.size != size * channels * height * width or labels.size != size:
                raise BadInput(f"has not {size:,} images for {part}", where=str(source))
            if labels.min() < 0 or labels.max() >= self.num_classes:
                raise BadInput(f"the labels of {part} are not 1 to {self.num_classes}", where=str(source))
            # column by column there
            images = pixels.reshape(size, channels, width, height).transpose(0, 1, 3, 2)
            arrays |= {f"{part}-images": np.ascontiguousarray(images), f"{part}-labels": labels}
        return arrays

    @property
    def _files(self) -> OfficialFiles:
        return OfficialFiles(data=self._data, url=self.url, folder=self.folder, files=self.files, most_bytes=MOST_BYTES)
