"""CIFAR from small archives in the official format, with their hashes put in the place of the official ones."""

import hashlib
import http.server
import io
import json
import os
import pickle
import tarfile
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch
from cifar_archives import contents, dumped, official, pixels, tarred

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.datasets import cifar, cifar_files
from kdharness.datasets import official as official_files
from kdharness.datasets.cifar import Cifar10, Cifar100
from kdharness.testing import check_dataset

SIZES = {"cifar10": (1000, 200), "cifar100": (200, 200)}
FILES = {dataset.name: contents(dataset) for dataset in (Cifar10, Cifar100)}
ARCHIVES = {dataset.name: tarred(dataset.folder, FILES[dataset.name]) for dataset in (Cifar10, Cifar100)}


def archive_of(dataset, data):
    return data / dataset.url.rpartition("/")[2]


@pytest.fixture(params=[Cifar10, Cifar100], ids=["cifar10", "cifar100"])
def dataset(request, monkeypatch):
    """Each of the two classes, which takes the small archive for the official one; no network."""
    name = request.param.name
    official(monkeypatch, request.param, FILES[name], ARCHIVES[name], *SIZES[name])
    return request.param


@pytest.fixture
def small(monkeypatch):
    """CIFAR-100 alone, likewise."""
    official(monkeypatch, Cifar100, FILES["cifar100"], ARCHIVES["cifar100"], *SIZES["cifar100"])
    return Cifar100


def put_archive(dataset, data):
    archive_of(dataset, data).write_bytes(ARCHIVES[dataset.name])


def put_folder(dataset, data):
    (data / dataset.folder).mkdir()
    for name, content in FILES[dataset.name].items():
        (data / dataset.folder / name).write_bytes(content)


def test_the_constants_have_not_moved():
    assert (Cifar10.md5, Cifar100.md5) == ("c58f30108f718f92721af3b95e74349a", "eb9058c3a382ffc7106e4002c42a8d85")
    assert Cifar10.fingerprint == "dc17b801b1df9f13ce6c4181ffa1def1deebd9d9e3c433bd219d5564b3d2f2d4"
    assert Cifar100.fingerprint == "7189c6c0ebdf9e8a329207cf9d19351c3f7918e2ad27530c3e8a932d40035407"
    assert Cifar100.normalization.mean == (0.5071, 0.4867, 0.4408)
    assert Cifar10.normalization.std[2] * 255 == pytest.approx(66.7)


def test_the_hashes_are_torchvisions():
    from torchvision.datasets import CIFAR10, CIFAR100

    for ours, theirs in ((Cifar10, CIFAR10), (Cifar100, CIFAR100)):
        assert (ours.url, ours.md5, ours.folder) == (theirs.url, theirs.tgz_md5, theirs.base_folder)
        assert list(map(list, ours.train_files.items())) == theirs.train_list
        assert list(map(list, ours.test_files.items())) == theirs.test_list


@pytest.mark.parametrize("put", [put_archive, put_folder])
def test_every_law_from_the_archive_and_from_torchvisions_directory(dataset, put, tmp_path):
    put(dataset, tmp_path)
    check_dataset(dataset, tmp_path)


def test_images_and_labels_are_those_of_the_files_in_their_order(dataset, tmp_path):
    put_archive(dataset, tmp_path)
    train, test = dataset(tmp_path).split("train"), dataset(tmp_path).split("test")
    parts = [pixels(200, seed) for seed in range(len(dataset.train_files) + 1)]
    assert torch.equal(train.images, torch.from_numpy(np.concatenate(parts[:-1])).reshape(-1, 3, 32, 32))
    assert torch.equal(test.images, torch.from_numpy(parts[-1]).reshape(-1, 3, 32, 32))
    assert train.labels[:4].tolist() == [0, 7, 14 % dataset.num_classes, 21 % dataset.num_classes]
    assert train.images.is_contiguous()


def test_numpys_own_pickles_by_columns_are_turned(small):
    by_columns = dumped({b"fine_labels": [1, 2], b"data": pixels(2, 0)})
    raw = pixels(2, 0)
    turned = by_columns.replace(raw.tobytes(), raw.tobytes(order="F")).replace(b"\x89T", b"\x88T")
    assert np.array_equal(cifar_files.decoded(turned, b"fine_labels", 100, "here")[0], raw)


def test_the_pickles_of_these_tests_are_what_numpy_reads():
    batch = {b"data": pixels(3, 0), b"labels": [1, 2, 3], b"filenames": [b"a", b"b", b"c"]}
    read = pickle.loads(dumped(batch), encoding="bytes")
    assert np.array_equal(read.pop(b"data"), batch.pop(b"data")) and read == batch


def test_missing_images_are_told_with_what_to_put_where(dataset, tmp_path):
    with pytest.raises(EnvironmentRefused) as error:
        dataset(tmp_path / "data").split("train")
    assert "could not be downloaded" in error.value.what and str(tmp_path / "data") in error.value.what
    assert archive_of(dataset, tmp_path).name in error.value.remedy and dataset.folder in error.value.remedy
    assert not [path for path in (tmp_path / "data").iterdir() if path.suffix != ".lock"]


def test_a_download_is_verified_and_kept(small, tmp_path, monkeypatch):
    site = tmp_path / "site"
    site.mkdir()
    put_archive(small, site)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            name = archive_of(small, site).name
            monkeypatch.setattr(small, "url", f"http://127.0.0.1:{server.server_port}/{name}")
            assert len(small(tmp_path / "good").split("train").labels) == 200
            archive_of(small, site).write_bytes(b"something else")
            with pytest.raises(EnvironmentRefused, match="could not be downloaded"):
                small(tmp_path / "bad").split("train")
        finally:
            server.shutdown()
            thread.join()
    assert archive_of(small, tmp_path / "good").read_bytes() == ARCHIVES["cifar100"]
    assert not archive_of(small, tmp_path / "bad").exists()


@pytest.mark.parametrize("cut", [100, -100])
def test_a_truncated_archive_is_refused_by_its_hash(small, tmp_path, cut):
    archive_of(small, tmp_path).write_bytes(ARCHIVES["cifar100"][:cut])
    with pytest.raises(BadInput, match="not the official archive, or not all of it") as error:
        small(tmp_path).split("train")
    assert error.value.where == str(archive_of(small, tmp_path)) and "take it again" in error.value.remedy


@pytest.mark.parametrize("cut", [100, -100])
def test_a_truncated_archive_with_the_right_hash_is_still_one_error(small, tmp_path, monkeypatch, cut):
    packed = ARCHIVES["cifar100"][:cut]
    archive_of(small, tmp_path).write_bytes(packed)
    monkeypatch.setattr(small, "md5", hashlib.md5(packed).hexdigest())
    with pytest.raises(BadInput, match="cannot be unpacked"):
        small(tmp_path).split("train")


def test_another_file_in_torchvisions_directory_is_named(small, tmp_path):
    put_folder(small, tmp_path)
    (tmp_path / small.folder / "test").write_bytes(FILES["cifar100"]["train"])
    with pytest.raises(BadInput, match="test is not the official file"):
        small(tmp_path).split("train")
    (tmp_path / small.folder / "test").unlink()
    os.mkfifo(tmp_path / small.folder / "test")
    with pytest.raises(BadInput, match="has no file 'test'"):
        small(tmp_path).split("train")


@pytest.mark.parametrize("limit", [(cifar, "MOST_BYTES"), (official_files, "MOST_MEMBERS")], ids=lambda one: one[1])
def test_an_archive_that_unpacks_to_too_much_is_refused(small, tmp_path, monkeypatch, limit):
    put_archive(small, tmp_path)
    monkeypatch.setattr(*limit, 2)
    with pytest.raises(BadInput, match="unpacks to more than"):
        small(tmp_path).split("train")


def test_a_link_in_the_place_of_a_file_is_not_followed(small, tmp_path, monkeypatch):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in ("train", "test"):
            member = tarfile.TarInfo(f"{small.folder}/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(member)
    archive_of(small, tmp_path).write_bytes(packed.getvalue())
    monkeypatch.setattr(small, "md5", hashlib.md5(packed.getvalue()).hexdigest())
    with pytest.raises(BadInput, match="has no file 'train'"):
        small(tmp_path).split("train")


HOSTILE = {
    "os.system": (b"\x80\x02cposix\nsystem\n(X\x10\x00\x00\x00touch the-canarytR.", "posix.system"),
    "by way of copyreg": (b"\x80\x02ccopy_reg\n_reconstructor\n(tR.", "copy_reg._reconstructor"),
    "eval": (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x01\x31\x85R.", "builtins.eval"),
    "a dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tofile.\x93.", r"numpy.ndarray.tofile\."),
    "numpy's loader": (b"\x80\x02cnumpy\nload\n(U\x04nonetR.", "numpy.load"),
    "the array's class changed": (b"\x80\x02cnumpy\nndarray\n}U\x01aK\x01sb.", "not a pickle of images"),
    "no pickle": (b"hello", "not a pickle of images"),
    "nothing": (b"", "not a pickle of images"),
    "another thing": (dumped([1, 2]), "not a pickle of images"),
    "no labels": (dumped({b"data": pixels(1, 0)}), "labels are not numbers below 100"),
    "a label too high": (dumped({b"fine_labels": [100], b"data": pixels(1, 0)}), "labels are not numbers below 100"),
    "a label too few": (dumped({b"fine_labels": [1], b"data": pixels(2, 0)}), "images are not 1 rows of 3072"),
    "another shape": (dumped({b"fine_labels": [1], b"data": pixels(1, 0)[:, 1:]}), "images are not 1 rows"),
    "no images": (dumped({b"fine_labels": [1], b"data": [b"a"]}), "images are not 1 rows"),
    "fewer bytes than its shape": (
        dumped({b"fine_labels": [1], b"data": pixels(1, 0)}).replace(b"J\x00\x0c\x00\x00", b"J\x00\x0d\x00\x00"),
        "images are not 1 rows",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(small, name, tmp_path, monkeypatch):
    """Even with the official hash: its name stands in the error, the canary stays away."""
    monkeypatch.chdir(tmp_path)
    content, reason = HOSTILE[name]
    files = FILES["cifar100"] | {"test": content}
    packed = tarred(small.folder, files)
    official(monkeypatch, small, files, packed, *SIZES["cifar100"])
    archive_of(small, tmp_path).write_bytes(packed)
    with pytest.raises(BadInput, match=reason) as error:
        small(tmp_path).split("train")
    assert error.value.where.endswith("cifar-100-python.tar.gz: test")
    assert not (tmp_path / "the-canary").exists()
    assert not list(tmp_path.glob("cifar100-*"))


def test_the_canary_would_fire_for_pickle_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(HOSTILE["os.system"][0])
    assert (tmp_path / "the-canary").exists()


def test_too_few_images_are_refused(small, tmp_path, monkeypatch):
    put_archive(small, tmp_path)
    monkeypatch.setattr(small, "train_size", 300)
    with pytest.raises(BadInput, match="has 200 images for train, not 300"):
        small(tmp_path).split("train")


def test_decoded_once_then_mapped_without_the_archive(small, tmp_path):
    put_archive(small, tmp_path)
    small(tmp_path).split("train")
    archive_of(small, tmp_path).unlink()
    began = time.perf_counter()
    opened = small(tmp_path)
    train = opened.split("train")
    assert time.perf_counter() - began < 0.5
    assert isinstance(opened.images.arrays["train-images"], np.memmap)
    train.images.zero_()  # a private page: no other opening sees it
    assert small(tmp_path).split("train").images.any()


def test_the_cache_carries_its_hashes(small, tmp_path):
    put_archive(small, tmp_path)
    small(tmp_path).split("train")
    (place,) = tmp_path.glob("cifar100-*")
    made = json.loads((place / "manifest.json").read_text())
    assert len(made) == 4
    for name, facts in made.items():
        content = (place / f"{name}.npy").read_bytes()
        assert facts == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


@pytest.mark.parametrize("harm", ["cut", "shape", "manifest", "gone"])
def test_a_damaged_cache_is_made_again(small, tmp_path, harm):
    put_archive(small, tmp_path)
    whole = small(tmp_path).split("train").images.clone()
    (place,) = tmp_path.glob("cifar100-*")
    images = place / "train-images.npy"
    if harm == "cut":
        images.write_bytes(images.read_bytes()[:-1])
    elif harm == "shape":
        images.write_bytes(images.read_bytes().replace(b"(200, 3, 32, 32)", b"(200, 32, 3, 32)"))
    elif harm == "manifest":
        (place / "manifest.json").write_text("[")
    else:
        images.unlink()
    assert torch.equal(small(tmp_path).split("train").images, whole)
    archive_of(small, tmp_path).unlink()
    assert torch.equal(small(tmp_path).split("train").images, whole)


def test_a_data_directory_that_cannot_be_made_is_refused(small, tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(EnvironmentRefused, match="cannot be written"):
        small(tmp_path / "data").split("train")
