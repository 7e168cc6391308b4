"""Image files to RGB pixels: what is read, what is refused and why, and many at once."""

import hashlib
import io
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM")
MOST_PIXELS = 2**26
"""Of one image, 8,192 by 8,192: more is taken for a decompression bomb."""
CHUNK_IMAGES, CHUNK_BYTES = 64, 8 * 2**20
"""What one thread takes at a time."""
MOST_THREADS = 16


class BadImage(Exception):
    """An image file that cannot be used; the text says why and reads on after the file's name."""


def header_size(content: bytes) -> tuple[int, int] | None:
    """Width and height as the file's header says, without decoding; None where it is no image."""
    try:
        return _opened(content).size
    except BadImage:
        return None


def decode(content: bytes, size: int | None = None) -> NDArray[np.uint8]:
    """(3, H, W) uint8; with `size` its shorter side is brought to that by PIL's antialiased bicubic filter, and the
    square in the middle taken.

    Grey, bilevel and palette images become RGB. Refused: CMYK (its colours depend on a profile), 16 bits per channel
    (how to scale them is the owner's choice), transparent pixels (nobody says what lies behind), animations. The EXIF
    orientation is not followed, as everywhere in the field. Raises BadImage.
    """
    image = _opened(content)
    try:
        image.load()
        image = _rgb(image)
        if size is not None and image.size != (size, size):
            side = min(image.size)  # only the square is made: a thin image would be huge when resized whole
            left, top = ((extent - side) / 2 for extent in image.size)
            image = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    except BadImage:
        raise
    except Exception as error:  # bytes that are no whole image may raise anything
        raise BadImage(f"cannot be decoded: {error}") from error
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _opened(content: bytes) -> Image.Image:
    if not content:
        raise BadImage("is empty")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise BadImage("is no JPEG, PNG, WebP, BMP or PPM image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"has more than {MOST_PIXELS:,} pixels") from error
    except Exception as error:  # bytes that are no image may raise anything
        raise BadImage(f"cannot be decoded: {error}") from error
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise BadImage(f"has {width:,} x {height:,} pixels, more than {MOST_PIXELS:,}")
    # a PNG of 16 bits would be cut to 8 without a word; its depth stands behind its height
    if image.mode in ("I", "F") or image.mode.startswith("I;16") or (image.format == "PNG" and content[24] > 8):
        raise BadImage("has 16 or more bits per channel: convert it to 8")
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # an MPO is a camera's JPEG with its preview
        raise BadImage("is an animation")
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode == "CMYK":
        raise BadImage("is CMYK: convert it to RGB")
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] != 255:
        raise BadImage("has transparent pixels: put it on a background")
    if image.mode not in ("RGB", "RGBA", "L", "LA", "P", "PA", "1"):
        raise BadImage(f"has the mode {image.mode}: convert it to RGB")
    return image.convert("RGB")


def threads() -> int:
    """How many to decode with."""
    return min(len(os.sched_getaffinity(0)), MOST_THREADS)


@contextmanager
def quiet() -> Iterator[None]:
    """PIL warns of odd files in passing, also of a large image that is refused here by its header."""
    with warnings.catch_warnings():  # for all threads, so it stands outside of them
        warnings.simplefilter("ignore")
        yield


@dataclass
class Decoding:
    """What came of decoding many files."""

    unusable: dict[str, str] = field(default_factory=dict)
    """Path -> why."""
    other_sizes: dict[str, str] = field(default_factory=dict)
    """Path -> its size, where that is not the one asked for."""
    digests: dict[str, bytes] = field(default_factory=dict)
    """Path -> hash of its pixels."""


def decode_all(
    files: Iterable[tuple[str, bytes]], position: Mapping[str, int], images: NDArray[np.uint8], size: int | None = None
) -> Decoding:
    """Decode every file (path, content) into `images` (N, 3, H, W) at its position, by as many threads as there are
    processors: PIL leaves Python's lock while it decodes.
    """
    done = Decoding()
    pending: deque[Future[Decoding]] = deque()
    with quiet(), ThreadPoolExecutor(threads()) as pool:
        for chunk in _chunks(files):
            pending.append(pool.submit(_decode_some, chunk, position, images, size))
            if len(pending) > 2 * threads():
                _add(done, pending.popleft().result())
        while pending:
            _add(done, pending.popleft().result())
    return done


def _decode_some(
    files: list[tuple[str, bytes]], position: Mapping[str, int], images: NDArray[np.uint8], size: int | None
) -> Decoding:
    done = Decoding()
    for path, content in files:
        try:
            pixels = decode(content, size)
        except BadImage as error:
            done.unusable[path] = str(error)
            continue
        if pixels.shape != images.shape[1:]:
            done.other_sizes[path] = f"{pixels.shape[2]} x {pixels.shape[1]}"
            continue
        images[position[path]] = pixels
        done.digests[path] = hashlib.blake2b(pixels.data, digest_size=16).digest()
    return done


def _add(all_done: Decoding, done: Decoding) -> None:
    all_done.unusable |= done.unusable
    all_done.other_sizes |= done.other_sizes
    all_done.digests |= done.digests


def _chunks(files: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    chunk: list[tuple[str, bytes]] = []
    held = 0
    for path, content in files:
        chunk.append((path, content))
        held += len(content)
        if len(chunk) >= CHUNK_IMAGES or held >= CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def first_five(problems: Mapping[str, str]) -> str:
    """The first five by name with their reasons, and how many more there are."""
    named = [
        f"{path if path.isprintable() else ascii(path)} {why}".rstrip() for path, why in sorted(problems.items())[:5]
    ]
    more = len(problems) - len(named)
    return "; ".join([*named, *([f"and {more:,} more"] if more else [])])
