"""Imported and trained teachers: one name, one weights; measured or not; and the runs that made the others."""

import pytest
from sample_study import SHA, finish, save, wanted

from kdharness.core.errors import BadInput


def add(store, name="mine", sha="1" * 64, model="resnet20", dataset="digits", declared=None):
    return store.add_teacher(
        name=name,
        model=model,
        dataset=dataset,
        weights_sha256=sha,
        path=f"teachers/{sha}.safetensors",
        declared_top1=declared,
        provenance={"file": "a.pth", "figures": {"epoch": 240}},
    )


def test_an_import_is_unverified_until_it_was_measured(store):
    made = add(store, declared=99.5)
    assert store.imported_teachers() == [made]
    assert (made.measured_top1, made.verified, made.fingerprint, made.accepted) == (None, None, None, None)
    assert made.provenance == {"file": "a.pth", "figures": {"epoch": 240}} and made.added is not None
    told = store.verified("mine", measured_top1=98.0, fingerprint="f" * 64, accepted="ours crops")
    assert store.imported_teachers() == [told]
    assert (told.measured_top1, told.fingerprint, told.accepted) == (98.0, "f" * 64, "ours crops")
    assert told.verified is not None and told.declared_top1 == 99.5
    with pytest.raises(BadInput, match="'other'"):
        store.verified("other", measured_top1=1.0, fingerprint="f" * 64)


def test_the_same_import_again_changes_only_what_is_declared(store):
    first = add(store)
    store.verified("mine", measured_top1=98.0, fingerprint="f" * 64)
    again = add(store, declared=98.1)
    assert (again.declared_top1, again.measured_top1, again.added) == (98.1, 98.0, first.added)
    assert add(store).declared_top1 == 98.1
    assert len(store.imported_teachers()) == 1


def test_a_name_has_one_weights_and_weights_one_name(store):
    add(store)
    with pytest.raises(BadInput, match="'mine'"):
        add(store, sha="2" * 64)
    with pytest.raises(BadInput, match="already, as mine"):
        add(store, name="second")
    add(store, name="second", sha="2" * 64)
    add(store, name="elsewhere", dataset="cifar10")
    assert [one.name for one in store.imported_teachers()] == ["elsewhere", "mine", "second"]


def test_trained_teachers_are_the_finished_runs_that_a_study_asks_for_as_such(store):
    save(store, wanted())
    assert store.trained_teachers() == []
    teacher, student, *_ = (row.run_id for row in store.queue("mini"))
    for run_id in (teacher, student):
        finish(store, run_id, top1=91.5)
    save(store, wanted(), name="second", text="study: second\n")
    (one,) = store.trained_teachers()
    assert (one.run_id, one.model, one.dataset, one.weights_sha256) == (teacher, "resnet20", "digits", SHA)
    assert (one.test_top1, one.val_top1, one.validation) == (91.5, None, 0.0)
    assert store.imported_teachers() == []
