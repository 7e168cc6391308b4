"""A small tree in ImageNet's official layout, and the dataset whose constants are those of the tree."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from kdharness.datasets.imagenet import ImageNet

CLASSES = ("n01440764", "n02105855", "n15075141")
SIZES = ((50, 38), (38, 50), (44, 44), (89, 36), (36, 91), (33, 40))
"""Widths and heights; two are longer than 4:3."""


class SmallImageNet(ImageNet):
    """3 classes of 8 and 4 images, 32 pixels a side."""

    num_classes = 3
    image_shape = (3, 32, 32)
    train_size = 24
    test_size = 12
    shorter = 36
    train_per_class = range(7, 10)
    classes_sha256 = hashlib.sha256(" ".join(CLASSES).encode()).hexdigest()


def put_tree(data: Path) -> None:
    """Pictures with an object each, of several sizes; one is grey, one a PNG by another name."""
    generator = np.random.default_rng(3)
    for label, name in enumerate(CLASSES):
        for part, count in (("train", 8), ("val", 4)):
            folder = data / "imagenet" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                width, height = SIZES[(label + number) % len(SIZES)]
                pixels = generator.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
                image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
                if (part, number) == ("train", 2):
                    image = image.convert("L")
                file = (
                    f"{name}_{7 * number + 1}.JPEG"
                    if part == "train"
                    else f"ILSVRC2012_val_{10 * number + label:08d}.JPEG"
                )
                image.save(folder / file, "PNG" if (part, number, label) == ("train", 3, 1) else "JPEG", quality=95)
