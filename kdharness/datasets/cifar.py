"""CIFAR-10 and CIFAR-100: the official python archives, found or downloaded, verified and decoded once.

Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. Names and hashes of the files are those
that torchvision checks.
"""

import socket
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.types import Normalization
from kdharness.datasets.cache import Arrays
from kdharness.datasets.cifar_files import decoded
from kdharness.datasets.files import OfficialImages
from kdharness.datasets.official import OfficialFiles
from kdharness.datasets.official import fingerprint as fingerprint_of
from kdharness.datasets.registry import DATASETS

PATIENCE_SECONDS = 20.0
"""How long a server may keep silent."""


MOST_BYTES = 256 * 2**20
"""What an archive may unpack to; the official ones are 178 MiB at most."""


class _Cifar(OfficialImages):
    """60,000 photographs of 32x32 pixels; the order is that of the official files.

    They are looked for in the data directory: the archive, or the directory that torchvision unpacks from it; without
    either the archive is downloaded. They are decoded once.
    """

    image_shape = (3, 32, 32)
    train_size = 50_000
    test_size = 10_000
    num_classes: int
    normalization: Normalization
    recipe: str
    teacher_recipe: str
    url: str
    md5: str
    folder: str
    """The directory inside the archive."""
    train_files: Mapping[str, str]
    """Name -> MD5, in the order of the images."""
    test_files: Mapping[str, str]
    labels: bytes
    """Where the labels stand in a file."""

    @property
    def missing(self) -> str | None:
        if self._files.are_there:
            return None
        return f"{self.name} is not in {self._data}: it is downloaded from {self.url} when it is wanted"

    def reread(self) -> Arrays:
        if not self._files.are_there:
            self._download(self._files.archive)
        source, files = self._files.read()
        arrays: dict[str, NDArray[Any]] = {}
        for part, names, size in (
            ("train", self.train_files, self.train_size),
            ("test", self.test_files, self.test_size),
        ):
            read = [decoded(files.pop(name), self.labels, self.num_classes, f"{source}: {name}") for name in names]
            images, labels = (np.concatenate(parts) for parts in zip(*read, strict=True))
            if len(labels) != size:
                raise BadInput(f"has {len(labels):,} images for {part}, not {size:,}", where=str(source))
            arrays |= {f"{part}-images": images.reshape(-1, *self.image_shape), f"{part}-labels": labels}
        return arrays

    @property
    def _files(self) -> OfficialFiles:
        return OfficialFiles(
            data=self._data,
            url=self.url,
            folder=self.folder,
            files={**self.train_files, **self.test_files},
            most_bytes=MOST_BYTES,
            md5=self.md5,
        )

    def _download(self, archive: Path) -> None:
        from torchvision.datasets.utils import download_url

        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(PATIENCE_SECONDS)  # torchvision names none: it would wait for ever
        try:
            with TemporaryDirectory(dir=self._data, prefix=".download-") as place:
                download_url(self.url, place, filename=archive.name, md5=self.md5)
                (Path(place) / archive.name).replace(archive)
        except (OSError, RuntimeError, HTTPException) as error:
            raise EnvironmentRefused(
                f"{self.name} is not in {self._data}, and {self.url} could not be downloaded ({error})",
                remedy=f"put {archive.name} from there into {self._data}, or the directory {self.folder} that it "
                "holds; --data names another directory",
            ) from error
        finally:
            socket.setdefaulttimeout(before)


@DATASETS.add("cifar10")
class Cifar10(_Cifar):
    """10 classes of 6,000."""

    name = "cifar10"
    num_classes = 10
    normalization = Normalization(
        mean=(125.3 / 255, 123.0 / 255, 113.9 / 255), std=(63.0 / 255, 62.1 / 255, 66.7 / 255)
    )
    recipe = "cifar10-short"
    teacher_recipe = "cifar10-short"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    md5 = "c58f30108f718f92721af3b95e74349a"
    fingerprint = fingerprint_of(md5, normalization)
    folder = "cifar-10-batches-py"
    train_files: Mapping[str, str] = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    }
    test_files: Mapping[str, str] = {"test_batch": "40351d587109b95175f43aff81a1287e"}
    labels = b"labels"


@DATASETS.add("cifar100")
class Cifar100(_Cifar):
    """100 classes of 600, the fine labels."""

    name = "cifar100"
    num_classes = 100
    normalization = Normalization(mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761))
    recipe = "cifar100-240"
    teacher_recipe = "cifar100-240"
    url = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    md5 = "eb9058c3a382ffc7106e4002c42a8d85"
    fingerprint = fingerprint_of(md5, normalization)
    folder = "cifar-100-python"
    train_files: Mapping[str, str] = {"train": "16019d7e3df5f24257cddd939b257f8d"}
    test_files: Mapping[str, str] = {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}
    labels = b"fine_labels"
