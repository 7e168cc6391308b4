"""A fresh store for each test."""

import pytest
from sample_study import open_store


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "home")
    yield store
    store.close()
