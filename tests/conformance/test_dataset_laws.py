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


def test_digits_keeps_the_laws(tmp_path: Path) -> None:
    check_dataset(DATASETS.get("digits"), tmp_path)
