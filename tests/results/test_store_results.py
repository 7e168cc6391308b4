"""What came out: sealed until it is complete, finite or not, and whole."""

import json
import math

import pytest
from sample_study import NUMERICS, SHA, claim_one, complete, finish, save, wanted

from kdharness.core.errors import BadInput, SealedSplit
from kdharness.core.keys import key_of
from kdharness.results import export
from kdharness.results.frame import COLUMNS, load_frame
from kdharness.results.records import Checkpoint, Revealed

EXPORTED = [
    "study", "run_id", "setting_key", "numerics_key", "seed", "purpose", "dataset", "teacher", "student", "distiller",
    "label", "settings", "state", "attempts", "weights_sha256", "teacher_sha256", "metrics", "device", "started",
    "finished", "excluded", "tags", "notes",
]  # fmt: skip


@pytest.fixture
def run_id(store):
    save(store, wanted(seeds=(0,), teacher=False))
    return store.queue()[0].run_id


def everything(store):
    """The text of every row of every table."""
    tables = [name for (name,) in store.query("SELECT name FROM sqlite_master WHERE type = 'table'")[1]]
    return "\n".join(str(store.query(f'SELECT * FROM "{name}"')) for name in tables)


def test_sealed_metrics_are_nowhere_before_the_run_is_complete(store, run_id):
    lease = claim_one(store, run_id)
    with pytest.raises(SealedSplit, match="test_top1"):
        store.commit_epoch(lease, 1, 10, {"train_loss": 1.0, "test_top1": 87.125}, None)
    assert store.epoch_metrics(run_id) == []
    store.commit_epoch(lease, 1, 10, {"train_loss": 1.0}, None)
    assert "test_" not in everything(store)
    complete(store, lease, sealed=((1, 87.125),))
    assert "87.125" in everything(store)
    train, test = sorted(store.epoch_metrics(run_id), key=lambda one: one.name, reverse=True)
    assert (test.name, test.epoch, test.value) == ("test_top1", 1, 87.125)
    assert test.at_ms == train.at_ms, "a sealed value is as old as its epoch"


def test_a_search_run_never_has_a_test_metric(store):
    save(store, wanted(seeds=(0,), teacher=False, validation=0.1, purpose="search"))
    run_id = store.queue()[0].run_id
    lease = claim_one(store, run_id)
    with pytest.raises(SealedSplit):
        complete(store, lease)
    store.complete(lease, {"val_top1_last": 80.0}, {}, SHA, None, None)
    assert store.ledger() == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, 0.0])
def test_every_number_comes_back(store, run_id, value):
    lease = claim_one(store, run_id)
    store.commit_epoch(lease, 1, 10, {"train_loss": value}, None)
    store.complete(lease, {"test_loss_last": value}, {"test_loss": [(1, value)]}, SHA, None, None)
    found = [store.run(run_id).metrics["test_loss_last"], *(one.value for one in store.epoch_metrics(run_id))]
    assert len(found) == 3
    assert all(math.isnan(one) if math.isnan(value) else one == value for one in found)
    (exported,) = store.export("mini")
    json.dumps(exported, allow_nan=False)
    assert exported["metrics"]["test_loss_last"] == (value if math.isfinite(value) else str(value))


def test_the_database_itself_refuses_a_value_that_is_lost(store, run_id):
    insert = "INSERT INTO metrics (run_id, name, value, nonfinite) VALUES (?, 'x', ?, ?)"
    for value, nonfinite in [(math.nan, None), (None, None), (1.0, "nan"), (None, "huge")]:
        with pytest.raises(Exception, match="CHECK"), store._database.write() as connection:
            connection.exec_driver_sql(insert, (run_id, value, nonfinite))


def test_the_database_itself_refuses_a_second_result(store, run_id):
    finish(store, run_id)
    with pytest.raises(Exception, match="UNIQUE"), store._database.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO metrics (run_id, name, value) VALUES (?, 'test_top1_last', 99.0)", (run_id,)
        )
    assert store.run(run_id).metrics == {"test_top1_last": 90.0}


def test_two_checkpoints_are_kept(store, run_id):
    lease = claim_one(store, run_id)
    made = [Checkpoint(f"checkpoints/{n}.pt", "a" * 64, n, n * 10, 100 + n) for n in range(4)]
    assert [store.commit_epoch(lease, one.epoch, one.step, {}, one) for one in made] == [[], [], made[:1], made[1:2]]
    assert store.checkpoints(run_id) == [made[3], made[2]]
    assert store.commit_epoch(lease, 3, 30, {}, made[3]) == [], "the same file again replaces its row"
    assert store.checkpoints(run_id) == [made[3], made[2]]
    complete(store, lease)
    assert store.checkpoints(run_id) == []
    assert store.run(run_id).history[0].outcome == "complete"


def test_an_epoch_trained_again_replaces_its_values(store, run_id):
    lease = claim_one(store, run_id)
    for value in (1.0, 2.0):
        store.commit_epoch(lease, 1, 10, {"train_loss": value}, None)
    assert [one.value for one in store.epoch_metrics(run_id)] == [2.0]


def test_a_run_of_two_numerics_is_mixed(store, run_id):
    other = NUMERICS.model_copy(update={"torch": "2.11.0"})
    for resumes, numerics in ((True, NUMERICS), (True, other)):
        lease = claim_one(store, run_id)
        store.start(lease, numerics=numerics, device="cpu", commit=None, versions={})
        store.commit_epoch(lease, 1, 10, {}, Checkpoint("c.pt", "a" * 64, 1, 10, 1) if resumes else None)
        store.release(lease, reason="signal")
    assert store.run(run_id).numerics_keys == (key_of(NUMERICS), key_of(other))
    assert store.rows("mini")[0].mixed_numerics


def test_an_attempt_from_scratch_is_not_mixed_with_what_came_before(store, run_id):
    other = NUMERICS.model_copy(update={"threads": 2})
    for numerics in (NUMERICS, other):
        lease = claim_one(store, run_id)
        store.start(lease, numerics=numerics, device="cpu", commit="c", versions={"torch": "2"})
        store.release(lease, reason="signal")
    run = store.run(run_id)
    assert run.numerics_keys == (run.numerics_key,) == (key_of(other),)
    assert [one.numerics["threads"] for one in run.history] == [1, 2]
    assert run.history[0].versions == {"torch": "2"}


def test_what_was_fed_and_made_is_known(store):
    runs = wanted(seeds=(0,))
    save(store, runs)
    teacher, student = store.queue()
    assert store.weights_of(runs[0].key) is None
    finish(store, teacher.run_id)
    assert store.weights_of(runs[0].key) == SHA
    lease = claim_one(store, student.run_id)
    store.complete(lease, {"test_top1_last": 91.0}, {}, "6" * 64, SHA, b"\x00classes")
    assert store.run(student.run_id).teacher_sha256 == SHA
    assert store.predictions(student.run_id) == b"\x00classes"
    assert store.query("SELECT model, weights_sha256, origin, measured_top1 FROM teachers") == (
        ["model", "weights_sha256", "origin", "measured_top1"],
        [("resnet20", SHA, "trained", 90.0)],
    )


def test_the_ledger_counts_settings_not_runs(store):
    save(store, wanted((1.0, 2.0), (0, 1)))
    for row in store.queue():
        finish(store, row.run_id)
    assert store.ledger() == [
        Revealed("digits", "resnet20", "none", 1),
        Revealed("digits", "resnet20 -> resnet8", "kd", 2),
    ]


def test_export_has_exactly_the_agreed_fields(store):
    save(store, wanted(seeds=(0,)))
    finish(store, store.queue()[0].run_id)
    exported = list(store.export("mini"))
    assert [list(one) for one in exported] == [EXPORTED, EXPORTED]
    teacher, student = exported
    assert (teacher["state"], teacher["purpose"], teacher["attempts"]) == ("complete", "teacher", 1)
    assert teacher["metrics"] == {"test_top1_last": 90.0}
    assert student["settings"]["constants"] == {"temperature": 4.0, "kd_weight": 0.9}
    assert (student["started"], student["teacher"], student["label"]) == (None, "resnet20", "KD T=4")
    json.dumps(exported, allow_nan=False)


def test_the_frame_has_a_row_per_label_and_a_column_per_metric(store):
    save(store, wanted(seeds=(0,)))
    finish(store, store.queue()[0].run_id, top1=91.5)
    frame = load_frame(store, ["mini"])
    assert list(frame.columns) == [*COLUMNS, "test_top1_last"]
    assert frame["test_top1_last"].tolist()[0] == 91.5
    assert math.isnan(frame["test_top1_last"].tolist()[1])
    assert frame["teacher"].tolist() == [None, "resnet20"]
    assert frame["axes"].tolist() == [{}, {"temperature": 4.0}]
    assert frame["constants"].tolist()[1]["temperature"] == 4.0
    assert frame["recipe"].tolist()[1]["lr"] == 0.05
    assert frame["seed"].dtype == "int64"
    assert frame["weights_sha256"].tolist() == [SHA, None]
    assert load_frame(store, []).columns.tolist() == list(COLUMNS)
    with pytest.raises(BadInput):
        load_frame(store, ["other"])


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM runs",
        "UPDATE runs SET state = 'complete'",
        "INSERT INTO studies (name, created_ms) VALUES ('x', 1)",
        "DROP TABLE runs",
        "CREATE TABLE t (x)",
        "CREATE TEMP TABLE t (x)",
        "PRAGMA journal_mode=WAL",
        "ATTACH '/tmp/other.db' AS other",
        "VACUUM INTO '/tmp/other.db'",
        "SELECT load_extension('x')",
        "SELECT 1; DELETE FROM runs",
        "WITH x AS (SELECT 1) DELETE FROM runs",
        "SELEKT 1",
        "SELECT nothing FROM runs",
        "",
    ],
)
def test_query_refuses_everything_but_a_select(store, run_id, sql):
    before = everything(store)
    with pytest.raises(BadInput):
        store.query(sql)
    assert everything(store) == before


def test_query_reads(store, run_id):
    assert store.query("SELECT run_id, upper(state) AS s FROM runs") == (["run_id", "s"], [(run_id, "WAITING")])
    numbers = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 9) SELECT x FROM n"
    assert store.query(numbers, limit=3)[1] == [(1,), (2,), (3,)]


def test_a_query_without_end_does_not_hold_up_the_writers(store, run_id, monkeypatch):
    monkeypatch.setattr(export, "QUERY_SECONDS", 0.05)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(BadInput, match="interrupted"):
        store.query(endless)
    claim_one(store, run_id)


def test_a_run_is_found_by_the_beginning_of_its_id(store):
    save(store, wanted(seeds=(0, 1), teacher=False))
    first, second = (row.run_id for row in store.queue())
    assert store.find_run(first) == first
    for start, message in [(first[:5], "beginning of several"), ("", "several"), ("%", "no run begins")]:
        with pytest.raises(BadInput, match=message):
            store.find_run(start)
    assert second.startswith(first[:12])
