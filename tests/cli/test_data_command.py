"""`kdharness data`: images verified and decoded beforehand."""

import json

import numpy as np
import pytest
from PIL import Image

from kdharness.core.errors import ExitCode


@pytest.fixture
def images(tmp_path):
    """A data directory with the tree `mine`: three images of two classes in each part."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            place = tmp_path / "data" / "mine" / part / name
            place.mkdir(parents=True)
            for number in range(3):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(place / f"{number}.png")
    return tmp_path / "data"


def test_prepare_decodes_once_and_says_where(kdharness, images):
    first = kdharness("data", "prepare", "mine", "--data", images)
    (place,) = images.glob("folder-*")
    assert first.code == 0 and f"6 + 6 images of 2 classes decoded in 0.0 s, in {place}" in first.out.replace(
        "0.1", "0.0"
    )
    made = json.loads(kdharness("data", "prepare", "mine", "--data", images, "--json").out)
    assert (made["decoded"], made["train"], made["test"], made["classes"]) == (False, 6, 6, 2)
    assert "were there already" in kdharness("data", "prepare", "mine", "--data", images).out


def test_check_reads_everything_and_says_what_it_saw(kdharness, images):
    before = kdharness("data", "check", "mine", "--data", images)
    assert before.code == 0 and "every byte read and verified" in before.out and "none yet" in before.out
    kdharness("data", "prepare", "mine", "--data", images)
    seen = json.loads(kdharness("data", "check", "mine", "--data", images, "--json").out)
    assert seen["dataset"].startswith("folder-") and any("as they were written" in line for line in seen["seen"])


def test_check_finds_a_flipped_bit_of_the_cache_and_prepare_mends_it(kdharness, images):
    kdharness("data", "prepare", "mine", "--data", images)
    (array,) = images.glob("folder-*/test-images.npy")
    whole = array.read_bytes()
    array.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    answer = kdharness("data", "check", "mine", "--data", images)
    assert answer.code == ExitCode.BAD_INPUT and "damaged: test-images" in answer.err
    assert "decoded in" in kdharness("data", "prepare", "mine", "--data", images).out
    assert array.read_bytes() == whole and kdharness("data", "check", "mine", "--data", images).code == 0


def test_bad_images_are_named_with_exit_code_2(kdharness, images):
    for number in range(7):
        (images / "mine" / "train" / "ant" / f"bad{number}.png").write_bytes(b"no image")
    for command in ("check", "prepare"):
        answer = kdharness("data", command, "mine", "--data", images)
        assert answer.code == ExitCode.BAD_INPUT and answer.err.count("/bad") == 5 and "and 2 more" in answer.err
        assert answer.err.startswith(f"error: {images / 'mine'}: 7 of its images cannot be used")


def test_a_study_a_name_and_what_is_neither(kdharness, images, tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(
        "study: mine\ndataset: {folder: mine/train, test: 0.3, size: 16}\nteachers: train\n"
        "pairs: [resnet8 -> resnet8]\ndistillers: [none]\n"
    )
    answer = kdharness("data", "check", study, "--data", images)
    assert "4 for training, 2 for the test, 16 x 16 pixels" in answer.out, answer.err
    same = kdharness("data", "check", "mine/train", "--test", 0.3, "--size", 16, "--data", images)
    assert same.out == answer.out
    assert "every one was read" in kdharness("data", "check", "Digits").out
    assert "nothing to decode beforehand" in kdharness("data", "prepare", "digits").out
    assert kdharness("data", "check", "digits", "--size", 16).code == ExitCode.BAD_INPUT
    missing = kdharness("data", "check", "stl10", "--data", images)
    assert missing.code == ExitCode.ENVIRONMENT_REFUSED and f"stl10 is not in {images}" in missing.err
    neither = kdharness("data", "check", "mime", "--home", tmp_path)
    assert neither.code == ExitCode.ENVIRONMENT_REFUSED and "there is no mime in" in neither.err
