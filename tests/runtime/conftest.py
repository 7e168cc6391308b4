import pytest

from kdharness.core.home import Home
from kdharness.results.store import Store


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def store(home):
    opened = Store(home, create=True)
    yield opened
    opened.close()
