"""The files inside the official CIFAR archives: pickles, read without running them."""

import io
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdharness.core.errors import BadInput

PIXELS = 3 * 32 * 32


class _Numpy:
    """Stands for numpy's array, type and constructor while a pickle is read: keeps what it is given, does nothing."""

    made_of: tuple[object, ...] = ()
    state: object = None

    def __init__(self, *made_of: object) -> None:
        self.made_of = made_of

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    """Admits the three names that an array needs, as `_Numpy`; all else that could be called is refused."""

    def find_class(self, module: str, name: str) -> type[_Numpy]:
        if (module, name) in {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }:
            return _Numpy
        raise BadInput(f"is a pickle that asks for {module}.{name}: only arrays, lists and texts are read")


def decoded(content: bytes, labels_key: bytes, num_classes: int, where: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pixels (N, 3072) uint8 and labels (N,) int64 of one file. Raises BadInput."""
    try:
        batch = _Reader(io.BytesIO(content), fix_imports=False, encoding="bytes").load()
    except BadInput as error:
        raise BadInput(error.what, where=where) from error
    except Exception as error:  # bytes that are no pickle may raise anything
        raise BadInput(f"is not a pickle of images: {error}", where=where) from error
    if not isinstance(batch, dict):
        raise BadInput("is not a pickle of images", where=where)
    labels = batch.get(labels_key)
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < num_classes for label in labels):
        raise BadInput(f"the labels are not numbers below {num_classes}", where=where)
    match batch.get(b"data"):
        # numpy's own state of an array: version, shape, type, whether by columns, bytes
        case _Numpy(state=(_, (int(rows), int(columns)), _Numpy(made_of=(b"u1", *_)), bool(by_columns), bytes(raw))):
            if rows == len(labels) and columns == PIXELS and len(raw) == rows * columns:
                pixels = np.frombuffer(raw, np.uint8).reshape((rows, columns), order="F" if by_columns else "C")
                return pixels, np.array(labels, np.int64)
    raise BadInput(f"the images are not {len(labels):,} rows of {PIXELS} bytes", where=where)
