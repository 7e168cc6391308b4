"""Notes, tags, exclusions and cancelling: what people say is kept, shown and told; no result is touched."""

import pytest
from sample_study import claim_one, complete, finish, save, wanted

from kdharness.core.errors import BadInput, LeaseLost
from kdharness.results.records import Checkpoint


@pytest.fixture
def ids(store):
    save(store, wanted())
    return [row.run_id for row in store.queue("mini")]


def behind(store):
    """The runs whose mirror is behind; they are struck."""
    marks = store.outbox()
    store.outbox_done([mark.id for mark in marks])
    return {mark.run_id for mark in marks}


def test_what_is_said_of_a_run_stands_in_every_reader(store, ids):
    finish(store, ids[0])
    finish(store, ids[1])
    behind(store)
    store.note_run(ids[1], "  a note, ±\n")
    store.note_run(ids[1], "another")
    store.tag(ids[1], ["keep", "best-1"])
    store.tag(ids[1], ["keep", "later"], remove=["best-1"])
    marks = store.run(ids[1]).marks
    assert [note.text for note in marks.notes] == ["a note, ±", "another"] and marks.tags == ("keep", "later")
    assert {row.run_id: row.marks for row in store.rows("mini")}[ids[1]] == marks
    exported = {row["run_id"]: row for row in store.export("mini")}
    assert exported[ids[1]]["tags"] == ["keep", "later"] and exported[ids[1]]["notes"][0]["text"] == "a note, ±"
    assert (exported[ids[2]]["tags"], exported[ids[2]]["notes"], exported[ids[2]]["excluded"]) == ([], [], None)
    (told,) = store.outbox()
    tags = store.mirror_view(told.study_run_id).tags
    assert (tags["kdharness.tags"], tags["kdharness.note"]) == ("keep later", "another")
    store.note_study("mini", "of the study")
    assert [note.text for note in store.study_notes("mini")] == ["of the study"]


def test_an_excluded_run_keeps_its_result_and_both_turns_are_noted(store, ids):
    finish(store, ids[0])
    finish(store, ids[1])
    before = store.run(ids[1])
    behind(store)
    store.exclude([ids[1]], "wrong data")
    store.exclude([ids[1]], "wrong images")
    assert behind(store) == {ids[1]}
    run = store.run(ids[1])
    assert (run.marks.excluded, run.state, run.metrics) == ("wrong images", "complete", before.metrics)
    assert [row.run_id for row in store.queue("mini") if row.excluded] == [ids[1]]
    assert store.include(ids) == 1 and behind(store) == {ids[1]}
    run = store.run(ids[1])
    assert run.marks.excluded is None
    said = [note.text for note in run.marks.notes]
    assert said == ["excluded: wrong data", "excluded: wrong images", "included again"]
    assert store.include(ids) == 0


@pytest.mark.parametrize("text", ["", "  ", "\x1b[31mred", "a\0b", "x" * 2001, "\ud800"])
def test_text_that_cannot_be_shown_is_refused(store, ids, text):
    for say in (store.note_run, store.note_study):
        with pytest.raises(BadInput):
            say(ids[0] if say == store.note_run else "mini", text)
    with pytest.raises(BadInput):
        store.exclude([ids[0]], text)


@pytest.mark.parametrize("name", ["", "a b", "-x", "ä", "x" * 65, "a/b"])
def test_what_is_no_tag_is_refused(store, ids, name):
    with pytest.raises(BadInput, match="tag"):
        store.tag(ids[0], ["good", name])
    assert store.run(ids[0]).marks.tags == ()


def test_unknown_runs_are_refused(store, ids):
    for call in (
        lambda: store.note_run("nobody-0", "x"),
        lambda: store.tag("nobody-0", ["x"]),
        lambda: store.exclude([ids[0], "nobody-0"], "x"),
        lambda: store.include(["nobody-0"]),
    ):
        with pytest.raises(BadInput, match="nobody-0"):
            call()
    assert store.run(ids[0]).marks.excluded is None


def test_cancelling_a_study_leaves_what_another_asks_for(store, ids):
    save(store, wanted(seeds=(0,)), name="other")
    assert store.cancel("mini") == 1
    states = {row.run_id: row.state for row in store.queue("mini")}
    assert states == {ids[0]: "waiting", ids[1]: "waiting", ids[2]: "cancelled"}
    assert store.cancel("mini", [ids[1]]) == 1, "one that is named is cancelled all the same"


def test_a_cancelled_run_goes_on_from_its_checkpoint_after_a_retry(store, ids):
    lease = claim_one(store, ids[0])
    store.commit_epoch(lease, 1, 10, {}, Checkpoint("c/1.pt", "a" * 64, 1, 10, 1))
    store.cancel("mini", [ids[0]])
    for write in (
        lambda: store.heartbeat([lease]),
        lambda: store.commit_epoch(lease, 2, 20, {}, Checkpoint("c/2.pt", "b" * 64, 2, 20, 1)),
        lambda: complete(store, lease),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert store.retry("mini") == 1
    assert (store.run(ids[0]).state, store.run(ids[0]).epoch) == ("waiting", 1)
    assert [one.path for one in store.checkpoints(ids[0])] == ["c/1.pt"]
    claim_one(store, ids[0])
    with pytest.raises(LeaseLost):
        store.heartbeat([lease])
