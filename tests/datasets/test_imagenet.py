"""ImageNet on a small tree in the official layout: what is found, refused, and decoded."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_imagenet import CLASSES, SmallImageNet, put_tree
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import functional as F

from kdharness.core.errors import BadInput, EnvironmentRefused, SealedSplit
from kdharness.datasets import imagenet
from kdharness.datasets.imagenet import ImageNet
from kdharness.datasets.splitting import held_out
from kdharness.testing import check_dataset
from kdharness.testing.dataset import check_facts


@pytest.fixture
def data(tmp_path: Path) -> Path:
    put_tree(tmp_path)
    return tmp_path


def test_the_official_facts_need_no_data() -> None:
    check_facts(ImageNet)
    dataset = ImageNet(Path("nowhere"))
    assert (dataset.num_classes, dataset.train_size, dataset.test_size) == (1000, 1_281_167, 50_000)
    assert dataset.fingerprint == "93e4f0af566c0d4e409f922547f600e950d9811a73b650c2e437267039627a56"


def test_laws(data: Path) -> None:
    check_dataset(SmallImageNet, data)


def test_the_splits(data: Path) -> None:
    dataset = SmallImageNet(data)
    train, test = dataset.split("train"), dataset.split("test")
    assert train.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert test.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert torch.equal(train.index, torch.arange(24))
    assert train.images.path(9) == data / "imagenet" / "train" / CLASSES[1] / f"{CLASSES[1]}_8.JPEG"
    assert test.images.path(5) == data / "imagenet" / "val" / CLASSES[1] / "ILSVRC2012_val_00000011.JPEG"
    assert all(split.images.path(row).is_file() for split in (train, test) for row in range(len(split.images)))


def test_validation_images_are_held_out_by_class(data: Path) -> None:
    dataset = SmallImageNet(data)
    whole, train, val = dataset.split("train"), dataset.split("train", 0.25), dataset.split("val", 0.25)
    assert torch.equal(val.index, held_out(whole.labels, 0.25, "validation").nonzero()[:, 0])
    assert sorted([*train.index.tolist(), *val.index.tolist()]) == list(range(24))
    assert val.labels.bincount().tolist() == [2, 2, 2]
    for part in (train, val):
        assert len(part.images) == len(part.labels)
        for row, position in enumerate(part.index.tolist()):
            assert part.images.path(row) == whole.images.path(position)
    with pytest.raises(SealedSplit):
        dataset.split("test", 0.25)


def test_test_images_are_those_of_torchvision(data: Path) -> None:
    pictures = SmallImageNet(data).split("test").images
    reference = transforms.Compose([transforms.Resize(36), transforms.CenterCrop(32), transforms.PILToTensor()])
    found = pictures.decode(range(12))
    assert found.dtype == torch.uint8
    assert found.is_contiguous(memory_format=torch.channels_last)
    for row in range(12):
        assert torch.equal(found[row], reference(Image.open(pictures.path(row)).convert("RGB"))), row


def test_crops_are_those_of_torchvision(data: Path) -> None:
    pictures = SmallImageNet(data).split("train").images
    sizes = []

    def crops(heights: Tensor, widths: Tensor) -> Tensor:
        sizes.extend(zip(widths.tolist(), heights.tolist(), strict=True))
        top = torch.arange(24) % 5
        return torch.stack([top, top + 2, heights - 2 * top, widths - 9 - top, top % 2], 1)

    found = pictures.decode(range(24), crops)
    for row in range(24):
        image = Image.open(pictures.path(row)).convert("RGB")
        assert image.size == sizes[row]
        top = row % 5
        expected = F.resized_crop(image, top, top + 2, image.height - 2 * top, image.width - 9 - top, [32, 32])
        expected = F.hflip(expected) if top % 2 else expected
        assert torch.equal(found[row], F.pil_to_tensor(expected)), row


def test_without_files_it_says_what_to_put_where(tmp_path: Path) -> None:
    dataset = SmallImageNet(tmp_path)
    with pytest.raises(EnvironmentRefused) as refused:
        dataset.split("train")
    said = str(refused.value)
    assert "there is no directory imagenet/train and no imagenet/val" in said
    assert "ILSVRC2012_img_train.tar" in said and f"{tmp_path}/imagenet/train/n01440764/n01440764_10026.JPEG" in said
    assert dataset.missing == said
    put_tree(tmp_path)
    assert dataset.missing is None


def put_picture(path: Path) -> None:
    Image.new("RGB", (40, 40)).save(path, "JPEG")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("a class less", r"imagenet/val: has 2 class directories, not 3; it lacks n02105855"),
        ("a class more", r"imagenet/train: has 4 class directories, not 3; n00000000 is none of them"),
        ("flat", r"imagenet/val: has 0 class directories, not 3"),
        ("images less", r"imagenet/train has 22 images, not 24, an unofficial number of them in n02105855 6"),
        ("one image less", r"imagenet/train has 23 images, not 24\n"),
        ("test image less", r"imagenet/val has 11 images, not 12, an unofficial number of them in n01440764 3"),
        ("another name", r"no official image: n01440764/n02105855_1.JPEG is no official name"),
        ("empty", r"no official image: n15075141/n15075141_1.JPEG is empty"),
        ("dangling", r"no official image: n15075141/n15075141_1.JPEG is a link to nothing"),
        ("directory", r"no official image: n15075141/n15075141_1.JPEG is no file"),
    ],
)
def test_other_files_are_named(data: Path, harm: str, said: str) -> None:
    train, val = data / "imagenet" / "train", data / "imagenet" / "val"
    first = train / CLASSES[2] / f"{CLASSES[2]}_1.JPEG"
    if harm == "a class less":
        (val / CLASSES[1]).rename(data / "elsewhere")
    elif harm == "a class more":
        (train / "n00000000").mkdir()
    elif harm == "flat":
        for name in CLASSES:
            for path in (val / name).iterdir():
                path.rename(val / path.name)
            (val / name).rmdir()
    elif harm == "images less":
        for number in (1, 8):
            (train / CLASSES[1] / f"{CLASSES[1]}_{number}.JPEG").unlink()
    elif harm == "another name":
        put_picture(train / CLASSES[0] / f"{CLASSES[1]}_1.JPEG")
    elif harm == "test image less":
        next((val / CLASSES[0]).iterdir()).unlink()
    else:
        first.unlink()
        if harm == "empty":
            first.touch()
        elif harm == "dangling":
            first.symlink_to("nowhere")
        elif harm == "directory":
            first.mkdir()
    with pytest.raises(BadInput, match=said) as refused:
        SmallImageNet(data).split("test")
    assert "unpack ILSVRC2012_img_train.tar" in refused.value.remedy


def test_both_parts_are_told_of_at_once(data: Path) -> None:
    for path in (f"train/{CLASSES[0]}/{CLASSES[0]}_1.JPEG", f"val/{CLASSES[2]}/ILSVRC2012_val_00000002.JPEG"):
        (data / "imagenet" / path).unlink()
    with pytest.raises(BadInput, match=r"train has 23 images, not 24\n.*val has 11 images, not 12"):
        SmallImageNet(data).split("train")


def test_files_are_looked_over_once_until_a_directory_changes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = SmallImageNet(data).split("train")
    looked: list[str] = []
    really = imagenet._numbers
    monkeypatch.setattr(imagenet, "_numbers", lambda folder, *rest: looked.append(folder.name) or really(folder, *rest))
    again = SmallImageNet(data).split("train")
    assert looked == []
    assert [again.images.path(row) for row in range(24)] == [before.images.path(row) for row in range(24)]

    folder = data / "imagenet" / "train" / CLASSES[0]
    (folder / f"{CLASSES[0]}_1.JPEG").rename(folder / f"{CLASSES[0]}_2.JPEG")
    os.utime(folder, ns=(1, 1))
    assert SmallImageNet(data).split("train").images.path(0).name == f"{CLASSES[0]}_2.JPEG"
    assert looked == [*CLASSES, *CLASSES]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no picture", "is no image"),
        (None, "cannot be read: No such file"),
        (-200, "cannot be decoded: image file is"),
    ],
)
def test_a_file_that_is_no_image_is_named(data: Path, content: bytes | int | None, said: str) -> None:
    pictures = SmallImageNet(data).split("train").images
    path = pictures.path(5)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:content] if isinstance(content, int) else content)
    with pytest.raises(BadInput, match=said) as refused:
        pictures.decode([4, 5])
    assert refused.value.where == str(path)
