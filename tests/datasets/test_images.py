"""Which image files are read and as what, and which are refused."""

import numpy as np
import pytest
from folder_trees import corpus, encoded, pixels
from PIL import Image

from kdharness.datasets import images
from kdharness.datasets.images import BadImage, decode, decode_all, first_five, header_size

CORPUS = corpus()


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.filterwarnings("error")
def test_a_corrupt_or_odd_file_is_refused_with_its_reason(name):
    content, reason = CORPUS[name]
    with pytest.raises(BadImage, match=reason):
        decode(content)


def test_all_of_them_at_once_leave_the_good_one_in_its_place():
    good = pixels(0)
    files = [*((name, content) for name, (content, _) in CORPUS.items()), ("good.png", encoded(good))]
    place = np.zeros((1, 3, 8, 8), np.uint8)
    done = decode_all(files, {"good.png": 0}, place)
    assert set(done.unusable) == set(CORPUS) and not done.other_sizes
    assert np.array_equal(place[0], good.transpose(2, 0, 1)) and set(done.digests) == {"good.png"}


@pytest.mark.parametrize("form", ["PNG", "BMP", "PPM"])
def test_pixels_are_those_of_the_file(form):
    image = pixels(1, 5, 9)
    assert np.array_equal(decode(encoded(image, form)), image.transpose(2, 0, 1))
    assert header_size(encoded(image, form)) == (9, 5)


def test_grey_bilevel_palette_and_opaque_alpha_become_rgb():
    picture = Image.fromarray(pixels(2))
    grey = picture.convert("L")
    assert np.array_equal(decode(encoded(grey)), np.repeat(np.asarray(grey)[None], 3, 0))
    assert set(np.unique(decode(encoded(picture.convert("1"))))) == {0, 255}
    palette = picture.convert("P")
    assert np.array_equal(decode(encoded(palette)), np.asarray(palette.convert("RGB")).transpose(2, 0, 1))
    opaque = picture.copy()
    opaque.putalpha(255)
    assert np.array_equal(decode(encoded(opaque)), decode(encoded(picture)))


def test_a_size_is_that_of_the_shorter_side_and_the_middle_is_kept():
    image = pixels(3, 8, 20)
    whole = np.asarray(Image.fromarray(image).resize((10, 4), Image.Resampling.BICUBIC))
    assert np.array_equal(decode(encoded(image), 4), whole[:, 3:7].transpose(2, 0, 1))
    assert np.array_equal(decode(encoded(image.transpose(1, 0, 2)), 4), whole[:, 3:7].transpose(2, 1, 0))
    assert decode(encoded(image), 16).shape == (3, 16, 16)
    same = pixels(3)
    assert np.array_equal(decode(encoded(same), 8), decode(encoded(same)))


def test_a_long_thin_image_costs_no_more_than_its_square():
    assert decode(encoded(np.full((1, 60_000, 3), 9, np.uint8)), 512).shape == (3, 512, 512)


def test_jpeg_and_webp_are_read_nearly_as_they_were():
    smooth = np.linspace(0, 255, 16, dtype=np.uint8)[None, :, None].repeat(16, 0).repeat(3, 2)
    for form in ("JPEG", "WEBP"):
        assert abs(decode(encoded(smooth, form)).astype(int) - smooth.transpose(2, 0, 1)).max() < 24


def test_the_text_names_five_and_counts_the_rest():
    said = first_five({f"{n}.png": "is empty" for n in range(7)} | {"a\nb.png": ""})
    assert said == "0.png is empty; 1.png is empty; 2.png is empty; 3.png is empty; 4.png is empty; and 3 more"
    assert first_five({"a\nb.png": ""}) == r"'a\nb.png'"


def test_work_is_cut_by_bytes_too(monkeypatch):
    monkeypatch.setattr(images, "CHUNK_BYTES", 10)
    cut = list(images._chunks([("a", b"12345"), ("b", b"12345"), ("c", b"1"), ("d", b"")]))
    assert [[path for path, _ in chunk] for chunk in cut] == [["a", "b"], ["c", "d"]]
