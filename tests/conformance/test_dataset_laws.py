"""Every registered dataset knows its facts; those that lie in a dependency keep all the laws."""

from pathlib import Path

import pytest

from kdharness.datasets.registry import DATASETS
from kdharness.testing import check_dataset
from kdharness.testing.dataset import check_facts


@pytest.mark.parametrize("name", list(DATASETS))
def test_facts(name: str) -> None:
    check_facts(DATASETS.get(name))
    assert DATASETS.get(name)(Path("nowhere")).name == name


ELSEWHERE = dict.fromkeys(
    ("cifar10", "cifar100"),
    "its images are no part of the repository: tests/datasets/test_cifar.py runs check_dataset on small archives in "
    "the official format, whose hashes and sizes stand in for the official ones",
)
"""Datasets whose laws are checked by another test, and why."""


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in ELSEWHERE])
def test_laws(name: str, tmp_path: Path) -> None:
    check_dataset(DATASETS.get(name), tmp_path)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_laws_checked_elsewhere_are(name: str) -> None:
    file = Path(__file__).parents[1] / "datasets" / "test_cifar.py"
    assert name in DATASETS and "check_dataset(" in file.read_text() and f'"{name}"' in file.read_text()
