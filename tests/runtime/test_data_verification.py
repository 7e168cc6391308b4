"""`data check` of a set that is decoded when it is wanted: every image is read, the bad ones are named."""

import pytest
import torch

from kdharness.core.errors import BadInput
from kdharness.core.types import Split
from kdharness.datasets.digits import Digits
from kdharness.runtime.data import prepare_dataset, verify_dataset


class Pictures:
    """An ImageSource that remembers what was wanted, and of which some are broken."""

    def __init__(self, count, broken=()):
        self.count, self.broken, self.seen = count, broken, set()

    def __len__(self):
        return self.count

    def decode(self, positions, crops=None):
        self.seen.update(positions)
        for position in positions:
            if position in self.broken:
                raise BadInput("is cut", where=f"{position:03}.JPEG")
        return torch.zeros(len(positions), 3, 8, 8, dtype=torch.uint8)


class Streamed(Digits):
    """The digits' facts over such images."""

    def __init__(self, broken=()):
        self.pictures = {"train": Pictures(600), "test": Pictures(300, broken)}

    def split(self, part, validation=0.0):
        images = self.pictures[part]
        return Split(images, torch.zeros(len(images), dtype=torch.int64), torch.arange(len(images)))


def test_every_image_is_decoded():
    dataset = Streamed()
    assert verify_dataset(dataset)[-1] == "images: every one was read"
    assert all(len(pictures.seen) == len(pictures) for pictures in dataset.pictures.values())


def test_the_broken_ones_are_named_and_counted():
    with pytest.raises(BadInput, match=r"^6 images of test cannot be used: 003\.JPEG is cut; .* and 1 more$") as error:
        verify_dataset(Streamed(broken={3, 40, 41, 42, 200, 299}))
    assert error.value.what.count("is cut") == 5


def test_preparing_it_decodes_nothing():
    dataset = Streamed()
    made = prepare_dataset(dataset)
    assert (made.place, made.train, made.decoded) == ("", 600, False) and not dataset.pictures["train"].seen
