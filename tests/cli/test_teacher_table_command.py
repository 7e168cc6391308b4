"""`teachers table` fills a table for the runs to come, and says what has none."""

import json

import pytest
import torch

from kdharness.core.errors import ExitCode
from kdharness.core.home import Home
from kdharness.models.registry import MODELS
from kdharness.results.store import Store
from kdharness.training import frozen, weights


@pytest.fixture
def home(kdharness, tmp_path):
    """With one import, taken in without its reader's process."""
    place = Home(tmp_path / "home")
    torch.manual_seed(0)
    state = MODELS.get("resnet8").build(10, (3, 8, 8)).state_dict()
    sha256 = weights.weights_sha256(state)
    weights.save_weights(place.imported_weights(sha256), state)
    store = Store(place, create=True)
    path = str(place.imported_weights(sha256).relative_to(place.root))
    store.add_teacher(
        name="mine",
        model="resnet8",
        dataset="digits",
        weights_sha256=sha256,
        path=path,
        declared_top1=None,
        provenance={},
    )
    store.close()
    return place


def test_every_entry_is_there_and_nothing_is_computed_again(kdharness, home, monkeypatch):
    answer = kdharness("teachers", "table", "mine", "--home", home.root, "--augment", "none")
    assert (answer.code, answer.err) == (0, "")
    assert "mine: all 1438 entries are there" in answer.out
    monkeypatch.setattr(frozen, "frozen_forward", None)
    again = kdharness("teachers", "table", "mine", "--home", home.root, "--augment", "none", "--json")
    assert json.loads(again.out) == {"teacher": "mine", "entries": 1438}
    (row,) = json.loads(kdharness("teachers", "list", "--json", "--home", home.root).out)
    assert 1438 * 10 * 4 < row["tables_bytes"] < 200_000
    assert "0.1 MB" in kdharness("teachers", "list", "--home", home.root).out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("mine", "--augment", "crop4-flip-trivialaugment"), ExitCode.BAD_INPUT, "finitely many views"),
        (("mine", "--augment", "shift9"), ExitCode.BAD_INPUT, "shift9"),
        (("yours",), ExitCode.BAD_INPUT, "yours"),
    ],
)
def test_what_has_no_table_is_told(kdharness, home, arguments, code, message):
    answer = kdharness("teachers", "table", *arguments, "--home", home.root)
    assert answer.code == code and message in answer.err


def test_no_room_is_told_with_what_to_do(kdharness, home, monkeypatch):
    monkeypatch.setenv("KDHARNESS_TABLES_GB", "0.00001")
    answer = kdharness("teachers", "table", "mine", "--home", home.root, "--augment", "none")
    assert answer.code == ExitCode.ENVIRONMENT_REFUSED and "tables may take 1e-05 GB" in answer.err
    monkeypatch.setenv("KDHARNESS_TABLES_GB", "0")
    answer = kdharness("teachers", "table", "mine", "--home", home.root, "--augment", "none")
    assert answer.code == ExitCode.ENVIRONMENT_REFUSED and "has no table here" in answer.err
