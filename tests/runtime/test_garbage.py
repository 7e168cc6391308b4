"""What `gc` finds and removes is never what a table, an unfinished run or a teacher needs."""

import os
import shutil
import signal

import pytest
from tiny_study import ask, wanted

from kdharness.core.errors import ExitCode
from kdharness.core.home import Home
from kdharness.results.store import Store
from kdharness.runtime.garbage import REMOVED, find, remove
from kdharness.runtime.job import run_job
from kdharness.runtime.verifying import named_files, wrong_with
from kdharness.training.table_shelf import TableShelf


@pytest.fixture(scope="module")
def under_way(tmp_path_factory):
    """A teacher that is finished, a finished student, and one stopped after an epoch; with its table of logits."""
    home = Home(tmp_path_factory.mktemp("under-way") / "home")
    store, monkeypatch = Store(home, create=True), pytest.MonkeyPatch()
    ids = ask(store, wanted())
    assert run_job(home, [ids["teacher0"]], slot="cpu:0") == ExitCode.DONE
    assert run_job(home, [ids["none0"]], slot="cpu:0") == ExitCode.DONE
    commit = Store.commit_epoch

    def stop(self, *arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return commit(self, *arguments)

    monkeypatch.setattr(Store, "commit_epoch", stop)
    assert run_job(home, [ids["kd0"]], slot="cpu:0") == ExitCode.STOPPED
    monkeypatch.undo()
    store.close()
    return home.root, ids


@pytest.fixture
def home(under_way, tmp_path):
    return Home(shutil.copytree(under_way[0], tmp_path / "home"))


@pytest.fixture
def ids(under_way):
    return under_way[1]


def kinds(home, store, **how):
    return sorted((one.what, one.run_id or "") for one in find(home, store, **how))


def test_a_study_that_is_under_way_has_no_garbage_and_goes_on_to_the_same_weights(home, store, ids, undisturbed):
    assert find(home, store) == []
    assert kinds(home, store, weights=True) == [("weights", ids["none0"])], "the teacher's are needed"
    before = store.run(ids["none0"])
    found = find(home, store, weights=True)
    assert remove(home, store, found, weights=True) == found and not home.weights(ids["none0"]).exists()
    after = store.run(ids["none0"])
    assert (after.state, after.metrics, after.marks.tags) == ("complete", before.metrics, (REMOVED,))
    assert [wrong_with(file) for file in named_files(home, store)] == [""] * 3, "the teacher, two checkpoints"
    assert run_job(home, [ids["kd0"]], slot="cpu:0") == ExitCode.DONE
    assert store.run(ids["kd0"]).weights_sha256 == undisturbed["kd0"]
    assert (
        kinds(home, store, weights=True) == [("table", ""), ("weights", ids["kd0"])]
        or TableShelf(home.tables).tables() == []
    )


def test_what_no_study_asks_for_any_more_is_garbage(home, store, ids):
    (home.artifacts(ids["none0"]) / f".student.safetensors.{2**22 + 1}.tmp").write_text("half a file")
    (home.artifacts(ids["none0"]) / f".student.safetensors.{os.getpid()}.tmp").write_text("being written")
    orphan = home.checkpoints(ids["kd0"], 99) / "000000001.pt"
    orphan.parent.mkdir()
    orphan.write_text("no row names it")
    assert kinds(home, store) == [("leftover", ""), ("leftover", ids["kd0"])]
    store.save_study("tiny", "study: tiny\n# fewer", wanted(labels=("none",)), path="tiny.yaml", spec={})
    found = kinds(home, store)
    assert ("checkpoints", ids["kd0"]) in found and ("weights", ids["none0"]) not in found
    shelved = TableShelf(home.tables).tables()
    assert found.count(("table", "")) == len(shelved)
    remove(home, store, find(home, store))
    assert find(home, store) == [] and store.checkpoints(ids["kd0"]) == []
    assert not (home.root / "checkpoints" / ids["kd0"]).exists() and TableShelf(home.tables).tables() == []


def test_what_became_needed_meanwhile_and_what_is_open_stays(home, store, ids):
    store.save_study("tiny", "study: tiny\n# fewer", wanted(labels=("none",)), path="tiny.yaml", spec={})
    found = find(home, store)
    ask(store, wanted())
    assert remove(home, store, found) == []
    assert len(store.checkpoints(ids["kd0"])) == 2
    assert all((home.root / one.path).exists() for one in store.checkpoints(ids["kd0"]))


def test_a_running_run_s_files_are_left_alone(home, store, ids):
    from kdharness.results.owner import Owner

    store.claim([ids["kd0"]], Owner.current(), slot="cpu:0")
    path = home.checkpoints(ids["kd0"], 2) / "000000009.pt"
    path.parent.mkdir()
    path.write_text("its row comes next")
    store.save_study("tiny", "study: tiny\n# none", wanted(labels=("none",)), path="tiny.yaml", spec={})
    assert not any(one.run_id == ids["kd0"] for one in find(home, store))
