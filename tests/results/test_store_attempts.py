"""What was tried for a study, and until when: also what died, and what another study asked for first."""

import pytest
from sample_study import NUMERICS, claim_one, finish, save, wanted

from kdharness.core.errors import BadInput


def test_what_a_study_dropped_was_tried_for_it_until_another_asks_for_it(store):
    save(store, wanted(seeds=(0, 1), teacher=False), name="first")
    kept, dropped = (row.run_id for row in store.queue("first"))
    finish(store, kept)
    finish(store, dropped)
    save(store, wanted(seeds=(0,), teacher=False), name="first")
    assert {one.run_id: one.asked for one in store.attempts("first")} == {kept: True, dropped: False}
    save(store, wanted(seeds=(0, 1), teacher=False), name="second")
    assert {one.run_id: one.asked for one in store.attempts("first")} == {kept: True}
    assert {one.run_id: one.asked for one in store.attempts("second")} == {kept: True, dropped: True}


def test_every_attempt_is_there_with_the_end_of_its_work(store):
    save(store, wanted(seeds=(0, 1, 2), teacher=False), name="first")
    done, died, silent = (row.run_id for row in store.queue("first"))
    finish(store, done)
    lease = claim_one(store, died)
    store.start(lease, numerics=NUMERICS, device="GPU", commit="abc", versions={})
    store.commit_epoch(lease, 1, 10, {"train_loss": 1.0}, None)
    claim_one(store, silent)
    assert len(store.reap(lambda owner: False)) == 2
    store.end(claim_one(store, died), "failed", reason="error", message="m")
    going_on = claim_one(store, silent)
    save(store, wanted(seeds=(0, 1, 2), teacher=False), name="second")
    found = {(one.run_id, one.attempt.outcome): one for one in store.attempts("second")}
    assert len(found) == 5
    assert {one.origin for one in found.values()} == {"first"} and store.attempts("first") == store.attempts("second")
    for run_id, outcome in ((done, "complete"), (died, "failed")):
        one = found[run_id, outcome]
        assert one.until == one.attempt.finished is not None
    epoch = store.epoch_metrics(died)[0].at_ms
    assert found[died, "lost"].until.timestamp() * 1000 == pytest.approx(epoch, abs=1)
    assert found[silent, "lost"].until is None and found[silent, "lost"].attempt.finished is not None
    assert found[silent, None].until is None and found[silent, None].attempt.number == going_on.fence
    with pytest.raises(BadInput, match="unknown study"):
        store.attempts("third")
