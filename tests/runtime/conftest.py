import pytest
from tiny_study import ask, wanted

from kdharness.core.errors import ExitCode
from kdharness.core.home import Home
from kdharness.results.store import Store
from kdharness.runtime.job import run_job


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def store(home):
    opened = Store(home, create=True)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Label and seed -> weights hash of the tiny study, each run trained alone and to the end."""
    home = Home(tmp_path_factory.mktemp("undisturbed"))
    store = Store(home, create=True)
    ids = ask(store, wanted())
    for run_id in ids.values():
        assert run_job(home, [run_id], slot="cpu:0") == ExitCode.DONE
    hashes = {name: store.run(run_id).weights_sha256 for name, run_id in ids.items()}
    store.close()
    return hashes
