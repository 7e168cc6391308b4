"""What studies ask for: saving again, sharing, editing, searching."""

import pytest
from sample_study import claim_one, finish, save, setting, wanted

from kdharness.core.errors import BadInput
from kdharness.results.records import StudyChange


def test_saving_twice_changes_nothing(store):
    assert save(store, wanted()) == StudyChange(new=3, reused=0, waiting=0, dropped=0)
    before = store.query("SELECT * FROM study_labels")
    assert save(store, wanted()) == StudyChange(new=0, reused=0, waiting=3, dropped=0)
    assert store.query("SELECT * FROM study_labels") == before
    assert len(store.texts("mini")) == 1
    assert store.study("mini").states == {"waiting": 3}
    assert store.outbox_size() == 0


def test_two_studies_share_runs(store):
    save(store, wanted())
    teacher = store.queue()[0].run_id
    finish(store, teacher)
    change = save(store, wanted((4.0, 8.0)), name="other")
    assert change == StudyChange(new=2, reused=1, waiting=2, dropped=0)
    assert store.query("SELECT count(*) FROM runs")[1] == [(5,)]
    assert store.study("mini").states == {"complete": 1, "waiting": 2}
    assert store.study("other").states == {"complete": 1, "waiting": 4}
    assert [row.study for row in store.run(teacher).rows] == ["mini", "other"]
    assert len(store.queue()) == 5
    assert [study.name for study in store.studies()] == ["mini", "other"]


def test_an_edited_study_keeps_its_texts_and_results(store):
    save(store, wanted((1.0, 2.0)), text="one")
    finish(store, store.queue()[0].run_id)
    dropped = store.queue("mini")[1].run_id
    assert save(store, wanted((2.0, 3.0)), text="two") == StudyChange(new=2, reused=1, waiting=2, dropped=2)
    assert [(one.number, one.text) for one in store.texts("mini")] == [(1, "one"), (2, "two")]
    assert (store.study("mini").text, store.study("mini").texts) == ("two", 2)
    assert dropped not in {row.run_id for row in store.queue("mini")}
    assert store.run(dropped).state == "waiting"
    assert store.run(dropped).rows == ()
    assert save(store, wanted((1.0, 2.0)), text="one").new == 0
    assert len(store.texts("mini")) == 3


def test_a_label_is_in_no_key(store):
    save(store, wanted(labels=["KD"]))
    assert save(store, wanted(labels=["Hinton"]), text="two").new == 0
    assert {row.label for row in store.rows("mini")} == {"teacher", "Hinton"}


def test_one_run_may_stand_in_two_cells(store):
    twice = [*wanted((4.0,), labels=["KD"]), *wanted((4.0,), labels=["KD again"])]
    assert save(store, twice).new == 3
    assert len(store.queue("mini")) == 3
    assert len(store.rows("mini")) == 5


def test_the_queue_goes_breadth_first_by_seed_after_the_teachers(store):
    save(store, wanted((1.0, 2.0), (0, 1)))
    assert [(row.purpose, row.seed, row.row) for row in store.queue("mini")] == [
        ("teacher", 0, 0), ("final", 0, 1), ("final", 0, 2), ("final", 1, 1), ("final", 1, 2),
    ]  # fmt: skip


def test_a_search_adds_runs_until_the_text_changes(store):
    save(store, wanted())
    drawn = wanted((5.0,), (0,), validation=0.1, purpose="search", labels=["KD"])[1:]
    teacher = wanted(validation=0.1)[:1]
    assert store.extend_study("mini", teacher + drawn).new == 2
    store.save_draw("mini", "KD", 0, 0, {"temperature": 5.0}, drawn[0].run_id)
    store.save_draw("mini", "KD", 0, 0, {"temperature": 5.0}, drawn[0].run_id)
    (draw,) = store.draws("mini", "KD")
    assert (draw.number, draw.params, draw.run_id, draw.state) == (0, {"temperature": 5.0}, drawn[0].run_id, "waiting")
    assert save(store, wanted()).dropped == 0
    assert len(store.queue("mini")) == 5
    assert save(store, wanted(), text="edited") == StudyChange(new=0, reused=0, waiting=3, dropped=0)
    assert len(store.queue("mini")) == 3
    assert store.extend_study("mini", teacher + drawn) == StudyChange(new=0, reused=0, waiting=2, dropped=0)
    assert len(store.draws("mini", "KD")) == 1


def test_a_search_may_draw_what_the_file_asks_for(store):
    save(store, wanted())
    again = wanted(labels=["KD T=4"], purpose="search")
    store.extend_study("mini", again)
    store.extend_study("mini", again)
    assert save(store, wanted()).new == 0
    assert len(store.rows("mini")) == 3 + 2


def test_an_unknown_study_or_run_is_bad_input_with_a_suggestion(store):
    save(store, wanted())
    with pytest.raises(BadInput, match="did you mean 'mini'"):
        store.study("mimi")
    with pytest.raises(BadInput, match="unknown study"):
        store.extend_study("nothing", [])
    for ask in (store.run, store.setting):
        with pytest.raises(BadInput, match="unknown run 'x-0'"):
            ask("x-0")


def test_nothing_is_saved_of_a_study_that_cannot_be(store):
    broken = wanted()[1:]  # the students without their teacher
    with pytest.raises(Exception, match="FOREIGN KEY"):
        save(store, broken)
    assert store.studies() == []
    assert store.query("SELECT count(*) FROM settings")[1] == [(0,)]


def test_settings_come_back_as_they_went_in(store):
    runs = wanted((0.1 + 0.2,))
    save(store, runs)
    for run in runs:
        assert store.setting(run.run_id) == (run.setting, run.seed)
        assert store.setting(run.run_id)[0].key == run.setting.key


def test_a_run_that_has_begun_is_mirrored_by_the_next_study_that_asks(store):
    save(store, wanted())
    teacher = store.queue()[0].run_id
    finish(store, teacher)
    store.outbox_done([row.id for row in store.outbox()])
    save(store, wanted(), name="other")
    (row,) = store.outbox()
    assert (row.study, row.run_id, row.what) == ("other", teacher, "asked")
    view = store.mirror_view(row.study_run_id)
    assert view.reused_from == "mini"
    assert view.tags["kdharness.reused_from"] == "mini"
    assert view.params["recipe.lr"] == 0.05
    claim_one(store, store.queue("other")[1].run_id)


def test_a_field_of_a_later_version_stands_at_its_former_value():
    from typing import Annotated

    from kdharness.core.keys import Frozen, Since, canonical
    from kdharness.results.encoding import restore

    class Inner(Frozen):
        clip: Annotated[float, Since(0.0)] = 1.0

    class Outer(Frozen):
        one: Inner
        many: tuple[Inner, ...] = ()
        none: Inner | None = None

    record = Outer(one=Inner(clip=0.0), many=(Inner(clip=0.0), Inner(clip=2.0)))
    assert "clip" not in canonical(record)["one"]
    assert restore(Outer, canonical(record)) == record
    assert setting().recipe.lr == 0.05
