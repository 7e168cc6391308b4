"""Every registered dataset knows its facts; those that lie in a dependency keep all the laws."""

from pathlib import Path

import pytest

from kdharness.datasets.registry import DATASETS
from kdharness.testing import check_dataset
from kdharness.testing.dataset import check_facts
from kdharness.training.recipes import load_recipe


@pytest.mark.parametrize("name", list(DATASETS))
def test_facts(name: str) -> None:
    check_facts(DATASETS.get(name))
    dataset = DATASETS.get(name)(Path("nowhere"))
    assert dataset.name == name and load_recipe(dataset.recipe) and load_recipe(dataset.teacher_recipe)


ELSEWHERE = {
    "cifar10": "test_cifar.py",  # small archives in the official format, whose hashes and sizes stand in for theirs
    "cifar100": "test_cifar.py",
    "imagenet": "test_imagenet.py",
    "stl10": "test_official_sets.py",  # likewise
    "tiny-imagenet": "test_official_sets.py",
    "synthetic": "test_official_sets.py",  # fewer of them: the same code for any number
}
"""Datasets whose laws are checked by another file of tests/datasets, because its images are not in the repository."""


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in ELSEWHERE])
def test_laws(name: str, tmp_path: Path) -> None:
    check_dataset(DATASETS.get(name), tmp_path)


@pytest.mark.parametrize("name", [name for name in DATASETS if name in ELSEWHERE])
def test_the_laws_checked_elsewhere_are(name: str) -> None:
    text = (Path(__file__).parents[1] / "datasets" / ELSEWHERE[name]).read_text()
    factory = DATASETS.get(name)
    assert "check_dataset(" in text and getattr(factory, "__name__", "") in text
