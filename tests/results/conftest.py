"""A fresh store for each test."""

import shutil

import pytest
from sample_study import open_store


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """Made once: the migrations take longer than most tests."""
    root = tmp_path_factory.mktemp("empty")
    open_store(root).close()
    return root / "results.db"


@pytest.fixture
def store(tmp_path, empty_database):
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(empty_database, home / "results.db")
    store = open_store(home, create=False)
    yield store
    store.close()
