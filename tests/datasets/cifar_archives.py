"""Small archives in the official CIFAR format: tars of pickles as Python 2 wrote them, protocol 2, every text a str."""

import hashlib
import io
import struct
import tarfile

import numpy as np


def dumped(value):
    """Python 2's pickle of dicts, lists, texts (bytes), small numbers and uint8 arrays."""
    return b"\x80\x02" + _written(value) + b"."


def _written(value):
    match value:
        case dict():
            return b"}(" + b"".join(_written(key) + _written(one) for key, one in value.items()) + b"u"
        case list():
            return b"](" + b"".join(map(_written, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(_written, value)) + b"t"
        case bytes():
            return b"T" + struct.pack("<i", len(value)) + value
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return b"J" + struct.pack("<i", value)
        case None:
            return b"N"
        case np.ndarray():
            made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + _written((0,)) + _written(b"b") + b"tR"
            kind = (
                b"cnumpy\ndtype\n" + _written((b"u1", 0, 1)) + b"R" + _written((3, b"|", None, None, None, -1, -1, 0))
            )
            state = _written(1) + _written(value.shape) + kind + b"b" + _written(False) + _written(value.tobytes())
            return made + b"(" + state + b"tb"
    raise TypeError(type(value))


def pixels(size, seed):
    """(size, 3072) uint8"""
    return np.random.default_rng(seed).integers(0, 256, (size, 3072), dtype=np.uint8)


def contents(dataset, each=20):
    """Name -> pickle of every file that the class names, `each` times a multiple of its classes in all train files."""
    files = {}
    for seed, name in enumerate((*dataset.train_files, *dataset.test_files)):
        size = each * 10 if dataset.num_classes == 10 else each // 10 * 100
        labels = [(position * 7) % dataset.num_classes for position in range(size)]
        batch = {
            b"batch_label": b"a batch of a test",
            dataset.labels: labels,
            b"data": pixels(size, seed),
            b"filenames": [b"a_%d.png" % position for position in range(size)],
        }
        if dataset.num_classes == 100:
            batch[b"coarse_labels"] = [label % 20 for label in labels]
        files[name] = dumped(batch)
    return files


def tarred(folder, files):
    """A .tar.gz of the files in one directory, with a page of HTML as in the official ones."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for name, content in {"readme.html": b"<html>", **files}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def official(monkeypatch, dataset, files, packed, train_size, test_size):
    """Make `files` in `packed` what the class takes for official."""
    for which in ("train_files", "test_files"):
        hashes = {name: hashlib.md5(files[name]).hexdigest() for name in getattr(dataset, which)}
        monkeypatch.setattr(dataset, which, hashes)
    monkeypatch.setattr(dataset, "md5", hashlib.md5(packed).hexdigest())
    monkeypatch.setattr(dataset, "train_size", train_size)
    monkeypatch.setattr(dataset, "test_size", test_size)
    monkeypatch.setattr(dataset, "url", "http://127.0.0.1:9/" + dataset.url.rpartition("/")[2])
