"""Runs side by side under one owner: what they share, and who is blamed when he dies."""

import json

from sample_study import NUMERICS, claim_one, complete, save, setting, wanted

from kdharness.core.keys import canonical_json
from kdharness.core.records import Teacher
from kdharness.results.owner import Owner
from kdharness.results.queueing import common_of
from kdharness.results.records import Checkpoint, Common
from kdharness.study.cost import known


def dead(_owner):
    return False


def checkpoint(number):
    return Checkpoint(f"checkpoints/{number}.pt", "a" * 64, number, number * 10, 100)


def two(store):
    """Two runs of one owner, claimed."""
    save(store, wanted(seeds=(0, 1), teacher=False))
    run_ids = [row.run_id for row in store.queue()]
    return run_ids, store.claim(run_ids, Owner.current(), slot="cpu:0")


def waits_alone(store):
    return [row.alone for row in store.queue()]


def test_the_death_of_several_side_by_side_counts_for_none_and_each_is_tried_alone(store):
    (first, second), _ = two(store)
    for _ in range(4):
        assert [(one.state, one.attempts, one.beside) for one in store.reap(dead)] == [("waiting", 0, 1)] * 2
        assert waits_alone(store) == [True, True]
        store.claim([first, second], Owner.current(), slot="cpu:0")
    store.reap(dead)
    history = store.run(first).history
    assert {(one.outcome, one.reason, one.counted) for one in history} == {("lost", "dead", False)}

    lease = claim_one(store, first)
    store.commit_epoch(lease, 1, 10, {}, checkpoint(1))
    store.release(lease, reason="signal")
    assert waits_alone(store) == [False, True], "a checkpoint is progress, of whoever made it"
    store.release(claim_one(store, second), reason="signal")
    assert waits_alone(store) == [False, True], "nothing was learnt"
    for _ in range(3):
        claim_one(store, second)
        (reaped,) = store.reap(dead)
    assert (reaped.state, reaped.attempts, reaped.beside) == ("failed", 3, 0)


def test_the_last_of_several_died_alone(store):
    (_, second), (lease, _) = two(store)
    complete(store, lease)
    assert [(one.run_id, one.attempts, one.beside) for one in store.reap(dead)] == [(second, 1, 0)]


def test_runs_killed_on_purpose_are_as_if_released(store):
    two(store)
    for _ in range(4):
        assert [(one.state, one.attempts) for one in store.reap(dead, blame=False)] == [("waiting", 0)] * 2
        store.claim([row.run_id for row in store.queue()], Owner.current(), slot="cpu:0")
    store.reap(dead, blame=False)
    (row, _) = store.queue()
    assert not row.alone and {one.outcome for one in store.run(row.run_id).history} == {"released"}


def test_who_claims_a_suspect_by_itself_knows_it_and_how_often_jobs_died_around_it_is_told(store):
    (first, second), leases = two(store)
    assert not any(lease.trial for lease in leases)
    for deaths in (1, 2):
        store.reap(dead)
        assert [row.deaths for row in store.queue()] == [deaths, deaths]
        assert not any(one.trial for one in store.claim([first, second], Owner.current(), slot="cpu:0"))
    store.reap(dead)
    suspect = claim_one(store, first)
    assert suspect.trial
    store.commit_epoch(suspect, 1, 10, {}, checkpoint(1))
    store.release(suspect, reason="made progress alone")
    assert [(row.alone, row.deaths) for row in store.queue()] == [(False, 3), (True, 3)]
    assert not claim_one(store, first).trial
    store.reap(dead)
    assert not claim_one(store, first).trial, "it died alone: nobody waits for it"


def test_a_run_put_aside_waits_to_be_tried_alone(store):
    _, (lease, other) = two(store)
    store.release(lease, reason="oom", alone=True)
    store.release(other, reason="signal")
    assert waits_alone(store) == [True, False]
    assert store.run(lease.run_id).attempts == 0


def test_the_queue_says_what_runs_have_in_common(store):
    def common(**fields):
        changed = setting(teachers=(taught,)).model_copy(update=fields)
        return common_of(json.loads(canonical_json(changed)))

    taught = Teacher(model="resnet20", revision=1, run=setting("resnet20", "none").run(0))
    recipe = setting().recipe
    save(store, wanted((2.0, 4.0), (0,)))
    teacher, cold, hot = store.queue()
    assert cold.common == hot.common == common() and cold.common.answers
    assert teacher.common == Common(hot.common.batches) and (teacher.student, hot.student) == ("resnet20", "resnet8")
    assert (
        common(student="resnet14", constants={}, distiller="dkd")
        == common(recipe=recipe.model_copy(update={"epochs": 9, "lr": 1.0}))
        == common()
    )
    for change in (
        {"batch_size": 32},
        {"augment": "shift1"},
        {"precision": "bf16"},
        {"drop_last": True},
        {"image_size": 9},
    ):
        assert common(recipe=recipe.model_copy(update=change)).batches != common().batches
    for change in ({"dataset": "cifar10"}, {"fingerprint": "e" * 64}, {"validation": 0.1}):
        assert common(**change).batches != common().batches
    other = taught.model_copy(update={"run": setting("resnet20", "none").run(1)})
    assert common(teachers=(other,)) == Common(common().batches, common(teachers=(other,)).answers)
    assert len({common().answers, common(teachers=(other,)).answers, common(teachers=(taught, other)).answers}) == 3
    assert common(teachers=(Teacher(model="resnet20", revision=1),)).answers == "", "a peer answers nobody else"


def test_the_time_of_a_job_is_divided_among_its_runs_when_a_plan_is_made(store, monkeypatch):
    (_, second), leases = two(store)
    started = {"numerics": NUMERICS, "device": "cpu", "commit": None, "versions": {}}
    monkeypatch.setattr("kdharness.results.progress.now_ms", lambda: 1_000)
    store.start(leases[1], **started)
    store.reap(dead)
    leases = store.claim([row.run_id for row in store.queue()], Owner.current(), slot="cpu:0")
    for lease in leases:
        store.start(lease, **started)
    monkeypatch.setattr("kdharness.results.progress.now_ms", lambda: 13_000)
    for lease in leases:
        complete(store, lease)
    facts = known(store)
    assert facts.measured == 2 and second in facts.complete
    assert facts.epoch_seconds == {("digits", "resnet8", None): 12 / 3 / 2}
