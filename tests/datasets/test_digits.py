"""The digits: what is a constant of the set stays one, and opening them is cheap and refuses strangers."""

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kdharness.core.errors import BadInput, EnvironmentRefused, SealedSplit
from kdharness.datasets.digits import Digits
from kdharness.datasets.registry import DATASETS
from kdharness.datasets.splitting import held_out


@pytest.fixture
def digits() -> Digits:
    return Digits(Path("unused"))


def test_grey_in_three_channels_and_pixels_times_fifteen(digits: Digits) -> None:
    images = digits.split("train").images
    assert torch.equal(images[:, 0], images[:, 1]) and torch.equal(images[:, 0], images[:, 2])
    assert set(images.unique().tolist()) == {15 * value for value in range(17)}


def test_the_split_has_not_moved(digits: Digits) -> None:
    train, test = digits.split("train"), digits.split("test")
    assert (len(train.labels), len(test.labels)) == (1438, 359)
    assert test.labels.bincount().tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    assert digits.fingerprint == "5903340027d7005a708ba054a34db3da3f1de7b43c8100534bb2ebc40519e68c"


def test_the_validation_images_have_not_moved(digits: Digits) -> None:
    index = digits.split("val", 0.1).index
    assert len(index) == 143
    assert hashlib.sha256(index.numpy().tobytes()).hexdigest()[:16] == "12140f2dc613762e"


def test_the_normalisation_is_that_of_the_train_split(digits: Digits) -> None:
    pixels = digits.split("train").images.double() / 255
    assert digits.normalization.mean[0] == pytest.approx(pixels.mean().item(), abs=5e-5)
    assert digits.normalization.std[0] == pytest.approx(pixels.std(correction=0).item(), abs=5e-5)


def test_sealed_and_senseless_parts(digits: Digits) -> None:
    with pytest.raises(SealedSplit, match="sealed"):
        digits.split("test", 0.1)
    with pytest.raises(BadInput, match="validation"):
        digits.split("val")


def test_other_images_are_refused(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Digits, "fingerprint", "0" * 64)
    with pytest.raises(EnvironmentRefused, match=r"not the ones this version knows"):
        digits.split("train")


def test_without_scikit_learn_the_facts_are_known_and_opening_says_what_to_install(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert DATASETS.get("Digits").fingerprint == digits.fingerprint
    with pytest.raises(EnvironmentRefused, match="not installed") as error:
        digits.split("train")
    assert error.value.remedy == 'pip install "kdharness[report]"'


def test_opening_does_not_import_scikit_learn() -> None:
    code = (
        "import sys; from pathlib import Path; from kdharness.datasets.digits import Digits;"
        "Digits(Path('.')).split('test'); print('sklearn' in sys.modules, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_held_out_takes_the_fraction_of_every_class_and_at_least_one() -> None:
    labels = torch.tensor([0] * 20 + [1] * 10 + [2] * 2)
    mask = held_out(labels, 0.1, "any")
    assert labels[mask].bincount().tolist() == [2, 1, 1]
    assert not torch.equal(mask, held_out(labels, 0.1, "another"))
