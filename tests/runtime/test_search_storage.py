"""Optuna's storage is a copy: lost or damaged in the middle of a search it changes no draw, and is made anew."""

import sqlite3

import pretended_search
from pretended_search import run, whole_list

from kdharness.study.searching.dashboard import write_copy
from kdharness.study.searching.search import Search


def copied(path):
    """Every trial of the copy, in order."""
    connection = sqlite3.connect(path)
    states = connection.execute("SELECT number, state FROM trials ORDER BY trial_id").fetchall()
    params = connection.execute("SELECT trial_id, param_name, param_value FROM trial_params ORDER BY 1, 2").fetchall()
    connection.close()
    return states, params


def half(path):
    content = path.read_bytes()
    path.write_bytes(content[:5000] + bytes(len(content) - 5000))


SPOILT = [
    lambda path: path.write_bytes(b"no database, but longer than a header is " * 99),
    half,
    lambda path: path.unlink(),
    lambda path: path.write_bytes(b""),
]


def searched(root, monkeypatch, spoilt):
    """The list of draws, the copy and the notes of a search whose storage is spoilt after each copy but the last."""
    path, made, left = root.with_suffix(".optuna.db"), [], list(spoilt)

    def search(expansion, store):
        def copy():
            write_copy(path, store, "killed")
            if left:
                left.pop()(path)

        made.append(Search(expansion, store, copy))
        return made[0]

    monkeypatch.setattr(pretended_search, "Search", search)
    run(str(root), "rungs: [1/4, 1/2, 1]", 2)
    assert left == []
    return whole_list(str(root)), copied(path), made[0].notes


def test_a_storage_that_is_spoilt_is_made_anew_with_the_same_draws(tmp_path, monkeypatch):
    found = searched(tmp_path / "spoilt", monkeypatch, SPOILT)
    assert found == searched(tmp_path / "undisturbed", monkeypatch, [])
    assert found[2] == [] and len(found[1][0]) == 10
