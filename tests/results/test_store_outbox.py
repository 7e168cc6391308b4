"""The outbox tells that a mirror is behind: at least once, never lost, and never more than the truth."""

import pytest
from sample_study import NUMERICS, claim_one, complete, finish, save, wanted

from kdharness.results import mirror, owner
from kdharness.results.owner import Owner


@pytest.fixture
def run_id(store):
    save(store, wanted(seeds=(0,), teacher=False))
    return store.queue()[0].run_id


def test_facts_come_with_their_mark(store, run_id):
    assert store.outbox() == [], "a run that nobody began has nothing to tell"
    lease = claim_one(store, run_id)
    store.start(lease, numerics=NUMERICS, device="cpu", commit=None, versions={})
    marks = store.outbox()
    for epoch in (1, 2):
        store.commit_epoch(lease, epoch, epoch * 10, {"train_loss": 1.0}, None)
        marks += store.outbox()
    complete(store, lease)
    marks += store.outbox()
    assert [mark.what for mark in marks] == ["state", "epoch", "epoch", "state"]
    assert len({mark.id for mark in marks}) == 4
    assert store.outbox_size() == 1, "one row per pair, however much changed"
    assert (marks[0].study, marks[0].run_id) == ("mini", run_id)


def test_a_change_after_the_reading_is_not_struck_with_it(store, run_id):
    lease = claim_one(store, run_id)
    store.commit_epoch(lease, 1, 10, {"train_loss": 1.0}, None)
    (read,) = store.outbox()
    store.commit_epoch(lease, 2, 20, {"train_loss": 1.0}, None)
    store.outbox_done([read.id])
    (still,) = store.outbox()
    store.outbox_done([still.id])
    assert store.outbox_size() == 0


def test_a_write_that_is_refused_leaves_no_mark(store, run_id):
    lease = finish(store, run_id)
    store.outbox_done([mark.id for mark in store.outbox()])
    with pytest.raises(Exception, match="lease"):
        complete(store, lease)
    assert store.outbox_size() == 0


def test_every_study_that_asks_is_told(store, run_id):
    save(store, wanted(seeds=(0,), teacher=False), name="other")
    finish(store, run_id)
    assert sorted(mark.study for mark in store.outbox()) == ["mini", "other"]
    views = [store.mirror_view(mark.study_run_id) for mark in store.outbox()]
    assert sorted(view.reused_from or "" for view in views) == ["", "mini"]


def test_a_relabelled_run_and_an_edited_text_are_told(store, run_id):
    finish(store, run_id)
    store.outbox_done([mark.id for mark in store.outbox()])
    save(store, wanted(seeds=(0,), teacher=False), text="only a comment changed")
    assert [mark.what for mark in store.outbox()] == ["study"]
    store.outbox_done([mark.id for mark in store.outbox()])
    save(store, wanted(seeds=(0, 1), teacher=False, labels=["Hinton"]), text="only a comment changed")
    (mark,) = store.outbox()
    assert mark.what == "asked"
    assert store.mirror_view(mark.study_run_id).label == "Hinton"


def test_the_view_says_everything_and_remembers_what_was_told(store, run_id):
    lease = claim_one(store, run_id)
    store.start(lease, numerics=NUMERICS, device="cpu", commit="abc", versions={})
    store.commit_epoch(lease, 1, 10, {"train_loss": 1.0}, None)
    (mark,) = store.outbox()
    view = store.mirror_view(mark.study_run_id)
    assert (view.external_id, view.logged_epoch, view.finished, view.state) == (None, 0, False, "running")
    assert [(one.name, one.epoch) for one in view.epoch_metrics] == [("train_loss", 1)]
    assert view.metrics == {}
    assert view.params["kd.temperature"] == 4.0
    assert view.params["seed"] == 0
    assert view.study_text == "study: mini\n"
    store.mirror_save(mark.study_run_id, external_id="e1", logged_epoch=1, finished=False)
    complete(store, lease)
    store.mirror_save(mark.study_run_id, external_id="e1", logged_epoch=3, finished=True)
    view = store.mirror_view(mark.study_run_id)
    assert (view.external_id, view.logged_epoch, view.finished, view.state) == ("e1", 3, True, "complete")
    assert {one.name for one in view.epoch_metrics} == {"train_loss", "test_top1"}
    assert {"kdharness.commit": "abc", "kdharness.run_id": run_id}.items() <= view.tags.items()


def test_a_pair_that_is_no_longer_asked_for_is_forgotten_and_found_again(store, run_id):
    finish(store, run_id)
    (mark,) = store.outbox()
    store.mirror_save(mark.study_run_id, external_id="e1", logged_epoch=3, finished=True)
    save(store, wanted((9.0,), (0,), teacher=False), text="two")
    assert store.outbox() == []
    assert store.mirror_view(mark.study_run_id) is None
    store.mirror_save(mark.study_run_id, external_id="e2", logged_epoch=3, finished=True)
    save(store, wanted(seeds=(0,), teacher=False), text="three")
    (mark,) = store.outbox()
    assert store.mirror_view(mark.study_run_id).external_id == "e1"


def test_one_mirror_at_a_time(store, monkeypatch):
    one, two = Owner.current(), Owner.current()
    assert store.take_mirror_lease(one)
    assert store.take_mirror_lease(one), "it may renew"
    assert not store.take_mirror_lease(two)
    store.release_mirror_lease(two)
    assert not store.take_mirror_lease(two), "nobody lets go of another's lease"
    store.release_mirror_lease(one)
    assert store.take_mirror_lease(two, lease_seconds=0.0)
    assert store.take_mirror_lease(one), "its lease had ended"
    monkeypatch.setattr(mirror, "is_alive", lambda holder: False)
    assert store.take_mirror_lease(two), "its holder had died"
    assert owner.boottime() > 0
