"""What is found out later about a finished student: beside its headline, never instead of it."""

import math

import pytest
from sample_study import SHA, claim_one, finish, save, wanted

from kdharness.core.errors import BadInput, SealedSplit
from kdharness.results.frame import load_frame


@pytest.fixture
def run_id(store):
    save(store, wanted(seeds=(0,), teacher=False))
    return store.queue()[0].run_id


def test_they_are_columns_of_the_frame_and_of_the_export(store, run_id):
    finish(store, run_id)
    assert store.add_metrics(run_id, {"test_ece": 0.25, "train_step_ms_cpu": math.nan}) == 2
    assert store.run(run_id).metrics["test_ece"] == 0.25
    assert load_frame(store, ["mini"])["test_ece"].tolist() == [0.25]
    (row,) = store.export("mini")
    assert row["metrics"]["test_ece"] == 0.25 and row["metrics"]["train_step_ms_cpu"] == "nan"


def test_what_is_there_stays_unless_it_is_measured_again(store, run_id):
    finish(store, run_id)
    store.add_metrics(run_id, {"test_ece": 0.25})
    assert store.add_metrics(run_id, {"test_ece": 0.5, "test_mce": 0.75}) == 1
    assert (store.run(run_id).metrics["test_ece"], store.run(run_id).metrics["test_mce"]) == (0.25, 0.75)
    store.add_metrics(run_id, {"test_ece": 0.5}, again=True)
    assert store.run(run_id).metrics["test_ece"] == 0.5


@pytest.mark.parametrize("name", ["test_top1_last", "test_top1_best", "train_seconds"])
@pytest.mark.parametrize("again", [False, True])
def test_the_headline_is_written_once(store, run_id, name, again):
    finish(store, run_id, top1=90.0)
    before = store.run(run_id).metrics
    with pytest.raises(BadInput, match="written when it is completed"):
        store.add_metrics(run_id, {"test_ece": 0.1, name: 99.0}, again=again)
    assert store.run(run_id).metrics == before


def test_an_unfinished_run_has_no_student(store, run_id):
    claim_one(store, run_id)
    with pytest.raises(BadInput, match="is running"):
        store.add_metrics(run_id, {"test_ece": 0.1})
    with pytest.raises(BadInput, match="no run 'nobody'"):
        store.add_metrics("nobody", {"test_ece": 0.1})


def test_a_search_run_keeps_its_seal(store):
    save(store, wanted(seeds=(0,), teacher=False, validation=0.1, purpose="search"))
    run_id = store.queue()[0].run_id
    store.complete(claim_one(store, run_id), {"val_top1_last": 80.0}, {}, SHA, None, None)
    with pytest.raises(SealedSplit):
        store.add_metrics(run_id, {"test_ece": 0.1})
    assert store.add_metrics(run_id, {"val_ece": 0.1}) == 1


def test_the_mirror_is_told_once(store, run_id):
    finish(store, run_id)
    store.outbox_done([row.id for row in store.outbox()])
    store.add_metrics(run_id, {"test_ece": 0.25})
    assert [row.run_id for row in store.outbox()] == [run_id]
    store.outbox_done([row.id for row in store.outbox()])
    store.add_metrics(run_id, {"test_ece": 0.25})
    assert store.outbox() == []
