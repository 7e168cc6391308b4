"""Small trees of images, as directories and as tars, and a corpus of files that must not be taken for images."""

import io
import struct
import tarfile
import zlib

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cat")


def pixels(seed, height=8, width=8):
    """(H, W, 3) uint8, another for every seed."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(array, form="PNG", **options):
    """The file of one image."""
    packed = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(packed, form, **options)
    return packed.getvalue()


def tree(train=4, test=2, height=8, width=8):
    """Path -> content, `train/<class>/<n>.png` and `test/<class>/<n>.png`."""
    files = {}
    for part, each in (("train", train), ("test", test)):
        for name in CLASSES:
            for number in range(each):
                files[f"{part}/{name}/{number:03}.png"] = encoded(pixels(len(files), height, width))
    return files


def one_tree(each=20):
    """Path -> content, `<class>/<n>.png`."""
    return {f"{name}/{number:03}.png": encoded(pixels(1000 * n + number)) for n, name in enumerate(CLASSES)
            for number in range(each)}  # fmt: skip


def put(directory, files):
    for path, content in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)


def member(name, kind=tarfile.REGTYPE, link=""):
    one = tarfile.TarInfo(name)
    one.type, one.linkname = kind, link
    return one


def tarred(files, mode="w:xz", prefix="", more=()):
    """A tar of the files, and of `more` members without content."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as tar:
        for path, content in files.items():
            one = member(prefix + path)
            one.size = len(content)
            tar.addfile(one, io.BytesIO(content))
        for one in more:
            tar.addfile(one)
    return packed.getvalue()


def _png(width, height, depth=8, colour=2, data=b""):
    """A PNG of these numbers in its header; its pixels may not be there."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    packed = zlib.compress(data)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def corpus():
    """Name -> content and a part of the reason for refusing it."""
    image = pixels(7, 16, 16)
    png, jpeg = encoded(image), encoded(image, "JPEG")
    picture = Image.fromarray(image)
    frames = [Image.fromarray(pixels(seed)) for seed in range(2)]
    sixteen = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    transparent = picture.copy()
    transparent.putalpha(100)
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    palette = picture.convert("P")
    return {
        "empty.png": (b"", "is empty"),
        "text.jpg": (b"this is no image\n" * 9, "is no JPEG"),
        "page.png": (b"<html><body>404</body></html>", "is no JPEG"),
        "zeros.png": (bytes(4096), "is no JPEG"),
        "Thumbs.db": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), "is no JPEG"),
        "half.png": (png[: len(png) // 2], "cannot be decoded"),
        "half.jpg": (jpeg[: len(jpeg) // 2], "cannot be decoded"),
        "only-a-header.png": (png[:33], "is no JPEG"),
        "only-a-header.jpg": (jpeg[:20], "is no JPEG"),
        "no-pixels.png": (_png(8, 8), "cannot be decoded"),
        "flipped.png": (bytes(flipped), "cannot be decoded"),
        "bomb.png": (_png(50_000, 50_000), "pixels"),
        "smaller-bomb.png": (_png(9_600, 9_600), "pixels"),
        "bomb-in-the-warning.png": (_png(12_000, 10_000), "pixels"),
        "cmyk.jpg": (encoded(picture.convert("CMYK"), "JPEG"), "CMYK"),
        "grey16.png": (encoded(Image.fromarray(sixteen)), "16 or more bits"),
        "rgb16.png": (_png(1, 1, 16, 2, bytes(7)), "16 or more bits"),
        "grey16.ppm": (b"P5 2 2 65535\n" + bytes(8), "16 or more bits"),
        "transparent.png": (encoded(transparent), "transparent"),
        "transparent-palette.png": (encoded(palette, transparency=palette.getpixel((0, 0))), "transparent"),
        "moves.png": (encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]), "animation"),
        "moves.webp": (encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]), "animation"),
        "drawn.gif": (encoded(image, "GIF"), "is no JPEG"),
        "scanned.tiff": (encoded(image, "TIFF"), "is no JPEG"),
    }
