"""Tiny ImageNet and STL-10 from small files in the official form; the synthetic images."""

import hashlib
import io
import zipfile

import numpy as np
import pytest
import torch
from folder_trees import encoded, pixels, put
from PIL import Image

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.datasets import tiny_imagenet
from kdharness.datasets.stl10 import Stl10
from kdharness.datasets.synthetic import Synthetic
from kdharness.datasets.tiny_imagenet import TinyImageNet
from kdharness.testing import check_dataset

IDS = ("n02124075", "n01443537", "n04067472")


def tiny_files(train=20, test=3):
    """Path -> content of a Tiny ImageNet of three classes; one train image is grey."""
    files, lines = {}, []
    for number, name in enumerate(IDS):
        files[f"train/{name}/{name}_boxes.txt"] = b"x"
        for one in range(train):
            files[f"train/{name}/images/{name}_{one}.JPEG"] = encoded(pixels(100 * number + one, 64, 64), "JPEG")
    grey = Image.fromarray(pixels(500, 64, 64)).convert("L")
    files[f"train/{IDS[0]}/images/{IDS[0]}_3.JPEG"] = encoded(grey, "JPEG")
    for one in range(3 * test):  # in no order of classes
        files[f"val/images/val_{one}.JPEG"] = encoded(pixels(1000 + one, 64, 64), "JPEG")
        lines.append(f"val_{one}.JPEG\t{IDS[one % 3]}\t0\t0\t9\t9\n")
    files["val/val_annotations.txt"] = "".join(lines).encode()
    files["test/images/test_0.JPEG"] = b"not looked at"
    return files


TINY = tiny_files()


def zipped(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in files.items():
            archive.writestr(f"tiny-imagenet-200/{path}", content)
    return packed.getvalue()


@pytest.fixture
def tiny(monkeypatch):
    """The class, which takes TINY for official."""
    facts = {"num_classes": 3, "train_each": 20, "test_each": 3, "train_size": 60, "test_size": 9}
    for name, value in (facts | {"md5": hashlib.md5(zipped(TINY)).hexdigest()}).items():
        monkeypatch.setattr(TinyImageNet, name, value)
    return TinyImageNet


def test_the_constants_have_not_moved():
    assert TinyImageNet.fingerprint == "f625a8ae44656a312962faf95f550c6874522888ff1927168d26f3d17add378b"
    assert Stl10.fingerprint == "fd56ad591dc0f6601545cc32ec7ac8e05676721d25ee81257261cd7b4b277f3f"
    assert Synthetic("nowhere").fingerprint == "cf5ec1a8f7350990aec671a950762f7754d8877c62b2285b2542360e5b809419"
    assert (TinyImageNet.train_size, TinyImageNet.test_size) == (200 * 500, 200 * 50)


@pytest.mark.parametrize("form", ["zip", "directory"])
def test_tiny_imagenet_keeps_every_law(tiny, form, tmp_path):
    if form == "zip":
        (tmp_path / "tiny-imagenet-200.zip").write_bytes(zipped(TINY))
    else:
        put(tmp_path / "tiny-imagenet-200", TINY)
    check_dataset(tiny, tmp_path)
    train, test = tiny(tmp_path).split("train"), tiny(tmp_path).split("test")
    assert (
        train.labels.tolist() == [0] * 20 + [1] * 20 + [2] * 20 and test.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    )
    first = sorted(IDS)[0]  # by WordNet id, then by path: 0, 1, 10, 11
    for position, number in enumerate((0, 1, 10, 11)):
        content = TINY[f"train/{first}/images/{first}_{number}.JPEG"]
        wanted = np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1)
        assert np.array_equal(train.images[position].numpy(), wanted)
    assert np.array_equal(  # the first image of the validation part that is of that class
        test.images[0].numpy(), np.asarray(Image.open(io.BytesIO(TINY["val/images/val_1.JPEG"]))).transpose(2, 0, 1)
    )
    grey = train.images[20 + sorted(str(n) for n in range(20)).index("3")]
    assert torch.equal(grey[0], grey[1]) and torch.equal(grey[0], grey[2])


NOT_TINY = {
    "an image is missing": ({f"train/{IDS[0]}/images/{IDS[0]}_7.JPEG": None}, r"n02124075 has 19 train images instead"),
    "a test image is missing": ({"val/images/val_4.JPEG": None}, r"val/images/val_4\.JPEG is empty"),
    "no annotations": ({"val/val_annotations.txt": None}, r"val_annotations\.txt cannot be read"),
    "a senseless annotation": ({"val/val_annotations.txt": b"val_0.JPEG\n"}, "line 1 names no image and class"),
    "an annotation elsewhere": ({"val/val_annotations.txt": b"../x\tn1\n"}, "line 1 names no image and class"),
    "an annotation twice": ({"val/val_annotations.txt": b"a.JPEG\tn1\n" * 2}, "names an image twice"),
    "a strange class": (
        {"val/val_annotations.txt": TINY["val/val_annotations.txt"].replace(IDS[0].encode(), b"n9")},
        "n02124075 has 0 test images instead of 3; n9 has 3 test images",
    ),
    "a class too many": ({"train/n9/images/n9_0.JPEG": b""}, "4 classes instead of 3"),
    "an image cut": ({"val/images/val_0.JPEG": TINY["val/images/val_0.JPEG"][:900]}, r"val_0\.JPEG cannot be decoded"),
    "an image of another size": ({"val/images/val_0.JPEG": encoded(pixels(1, 32, 64))}, "is 64 x 32 pixels"),
}


@pytest.mark.parametrize("form", ["zip", "directory"])
@pytest.mark.parametrize("name", NOT_TINY)
def test_what_is_not_all_of_tiny_imagenet_is_refused_by_name(tiny, name, form, tmp_path, monkeypatch):
    changes, reason = NOT_TINY[name]
    files = {path: content for path, content in (TINY | changes).items() if content is not None}
    if form == "zip":
        packed = zipped(files)
        (tmp_path / "tiny-imagenet-200.zip").write_bytes(packed)
        with pytest.raises(BadInput, match="not the official archive"):
            tiny(tmp_path).split("train")
        monkeypatch.setattr(tiny, "md5", hashlib.md5(packed).hexdigest())
    else:
        put(tmp_path / "tiny-imagenet-200", files)
    with pytest.raises(BadInput, match=reason):
        tiny(tmp_path).split("train")
    assert not list(tmp_path.glob("tiny-imagenet-" + TinyImageNet.fingerprint[:12]))


def test_a_zip_that_is_none_or_too_large_is_refused(tiny, tmp_path, monkeypatch):
    archive = tmp_path / "tiny-imagenet-200.zip"
    archive.write_bytes(b"PK" + bytes(100))
    monkeypatch.setattr(tiny, "md5", hashlib.md5(archive.read_bytes()).hexdigest())
    with pytest.raises(BadInput, match="cannot be unpacked"):
        tiny(tmp_path).split("train")
    archive.write_bytes(zipped(TINY))
    monkeypatch.setattr(tiny, "md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(tiny_imagenet, "MOST_FILES", 5)
    with pytest.raises(BadInput, match="more than 5 files"):
        tiny(tmp_path).split("train")


STL_LABELS = {"train": [n % 10 + 1 for n in range(100)], "test": [n % 10 + 1 for n in range(20)]}


def stl_files():
    """The four binary files, 96 x 96, each image by channel and column."""
    files = {}
    for seed, (part, labels) in enumerate(STL_LABELS.items()):
        rows = np.random.default_rng(seed).integers(0, 256, (len(labels), 3, 96, 96), dtype=np.uint8)
        files[f"{part}_X.bin"] = rows.transpose(0, 1, 3, 2).tobytes()
        files[f"{part}_y.bin"] = bytes(labels)
    return files


@pytest.fixture
def stl(monkeypatch):
    files = stl_files()
    monkeypatch.setattr(Stl10, "files", {name: hashlib.md5(content).hexdigest() for name, content in files.items()})
    monkeypatch.setattr(Stl10, "train_size", 100)
    monkeypatch.setattr(Stl10, "test_size", 20)
    return Stl10


@pytest.mark.parametrize("form", ["archive", "directory"])
def test_stl10_keeps_every_law(stl, form, tmp_path):
    from cifar_archives import tarred

    if form == "archive":
        # what stands behind the last wanted file is not read: 2.6 GB of unlabelled images in the official one
        whole = tarred("stl10_binary", stl_files() | {"unlabeled_X.bin": np.random.default_rng(9).bytes(200_000)})
        (tmp_path / "stl10_binary.tar.gz").write_bytes(whole[:-50_000])
    else:
        put(tmp_path / "stl10_binary", stl_files())
    check_dataset(stl, tmp_path)
    train = stl(tmp_path).split("train")
    rows = np.random.default_rng(0).integers(0, 256, (100, 3, 96, 96), dtype=np.uint8)
    assert np.array_equal(train.images.numpy(), rows) and train.labels[:11].tolist() == [*range(10), 0]


def test_stl10_of_other_files_is_refused(stl, tmp_path, monkeypatch):
    put(tmp_path / "stl10_binary", stl_files() | {"test_y.bin": bytes(20)})
    with pytest.raises(BadInput, match=r"test_y\.bin is not the official file"):
        stl(tmp_path).split("train")
    monkeypatch.setattr(stl, "files", stl.files | {"test_y.bin": hashlib.md5(bytes(20)).hexdigest()})
    with pytest.raises(BadInput, match="labels of test are not 1 to 10"):
        stl(tmp_path).split("train")
    monkeypatch.setattr(stl, "train_size", 99)
    with pytest.raises(BadInput, match="has not 99 images for train"):
        stl(tmp_path).split("train")


def test_the_hashes_of_stl10_are_torchvisions():
    from torchvision.datasets import STL10

    assert (Stl10.url, Stl10.md5, Stl10.folder) == (STL10.url, STL10.tgz_md5, STL10.base_folder)
    theirs = dict([*STL10.train_list, *STL10.test_list])
    assert theirs.pop("unlabeled_X.bin") and dict(Stl10.files) == theirs


@pytest.mark.parametrize("dataset", [TinyImageNet, Stl10])
def test_missing_files_are_told_with_what_to_put_where(dataset, tmp_path):
    with pytest.raises(EnvironmentRefused) as error:
        dataset(tmp_path).split("train")
    assert dataset(tmp_path).missing == error.value.what
    assert dataset.url in error.value.what and str(tmp_path) in error.value.what and "--data" in error.value.what


def small(data):
    return Synthetic(data, num_classes=7, size=20, train_size=140, test_size=35)


def test_synthetic_images_keep_every_law(tmp_path):
    check_dataset(small, tmp_path)
    assert small(tmp_path).fingerprint != Synthetic(tmp_path).fingerprint


def test_synthetic_images_are_the_same_everywhere_and_as_normalised_as_they_claim(tmp_path):
    dataset = Synthetic(tmp_path, train_size=3000, test_size=500)
    train, test = dataset.split("train"), dataset.split("test")
    assert hashlib.sha256(train.images.numpy().tobytes()).hexdigest()[:16] == "f3c5552801f720ab"
    values = train.images.double() / 255
    assert dataset.normalization.mean == pytest.approx(values.mean((0, 2, 3)).tolist(), abs=0.01)
    assert dataset.normalization.std == pytest.approx(values.std((0, 2, 3)).tolist(), abs=0.01)
    # the nearest class mean names the class of a test image: there is something to learn
    means = torch.stack([train.images[train.labels == k].float().mean(0).flatten() for k in range(100)])
    assert torch.equal(torch.cdist(test.images.float().flatten(1), means).argmin(1), test.labels)
    assert not torch.equal(train.images[:500], test.images)
    shorter = Synthetic(tmp_path, train_size=1000, test_size=500).split("train")
    assert torch.equal(shorter.images, train.images[:1000])
