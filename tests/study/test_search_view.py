"""What is said of a search: expected maxima by hand, importance, fronts, slices, and a copy that Optuna opens."""

import pytest
from fake_search import SEARCHED, FakeStore, to_the_end
from study_texts import expanded

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.home import Home
from kdharness.results.owner import Owner
from kdharness.results.store import Store
from kdharness.study.searching.dashboard import write_copy
from kdharness.study.searching.expected import expected_best
from kdharness.study.searching.search import Search
from kdharness.study.searching.view import search_views


def test_the_expected_maximum_of_three_values_by_hand() -> None:
    """Of {1, 2, 4}: one draw is their mean. Two: both 1 in 1 of 9 cases, the larger 2 in 3, the larger 4 in 5."""
    first, second, third = expected_best([2.0, 4.0, 1.0])
    assert first == pytest.approx(7 / 3)
    assert second == pytest.approx((1 * 1 + 3 * 2 + 5 * 4) / 9)
    assert third == pytest.approx((1 * 1 + 7 * 2 + 19 * 4) / 27)
    assert expected_best([]) == [] and expected_best([3.0, 3.0]) == pytest.approx([3.0, 3.0])


@pytest.fixture
def searched(tmp_path) -> Store:
    """A finished search in a real store, its runs ended by what the fake one says."""
    fake = FakeStore()
    text = SEARCHED.replace("draws: 14", "draws: 12, finalists: {keep: 2, seeds: 1}")
    to_the_end(text, fake)
    store = Store(Home.at(tmp_path), create=True)
    expansion = expanded(text)
    store.save_study("sound", text, expansion.wanted, path="sound.yaml", spec={})
    search = Search(expansion, store)
    done: set[str] = set()
    while search.advance() or not search.is_done:
        for row in [one for one in store.queue("sound") if one.purpose in ("teacher", "search")]:
            if row.run_id not in done:
                done.add(row.run_id)
                (lease,) = store.claim([row.run_id], Owner.current(), slot="cpu:0") or ()
                value = fake.results.get(row.run_id, ("", {"val_top1_last": 1.0}))[1]
                store.complete(lease, value, {}, "5" * 64, None, None)
    assert [dict(draw.params) for draw in store.draws("sound", store.searches("sound")[0].name)] == fake.params()
    return store


def test_a_search_is_shown_from_the_results_alone(searched: Store) -> None:
    (view,) = search_views(searched, "sound")
    assert view.title == "dkd, resnet20 -> resnet8" and view.finished == 12
    values = [one.value for one in view.draws if one.value is not None]
    assert len(view.expected) == 12
    assert view.expected[0] == pytest.approx(sum(values) / 12) and view.expected[-1] < max(values)
    assert view.best[0].value == max(values)
    assert set(view.importance) == {"temperature", "warmup", "standardize", "recipe.lr"}
    assert sum(view.importance.values()) == pytest.approx(1.0)
    assert view.front == (view.best[0].number,)  # the student costs the same everywhere
    slices = view.slices()
    assert [part[0] for part in slices["standardize"]] == ["none", "zscore"]
    assert [sum(part[1] for part in parts) for parts in slices.values()] == [12] * 4
    assert {len(one.repeats) for one in view.draws} == {0, 1}
    with pytest.raises(BadInput, match="no row 'kd' is searched"):
        search_views(searched, "sound", "kd")


def test_a_draw_that_was_pruned_has_no_value_even_when_its_run_is_complete(searched: Store) -> None:
    (row,) = searched.searches("sound")
    (before,) = search_views(searched, "sound")
    leader = before.best[0].number
    searched.prune_draw("sound", row.name, leader, 23)
    draw = searched.draws("sound", row.name)[leader]
    searched.save_draw("sound", row.name, leader, draw.generation, draw.params, draw.run_id, draw.cost)  # keeps it
    (view,) = search_views(searched, "sound")
    assert view.draws[leader].value is None and leader not in {one.number for one in view.best}
    assert [(one.number, one.why) for one in view.dropped] == [(leader, "pruned after epoch 23")]
    assert leader not in view.front and len(view.expected) == 11 and view.winner != leader


def test_the_copy_for_optuna_can_be_deleted_and_comes_back_the_same(searched: Store, tmp_path) -> None:
    optuna = pytest.importorskip("optuna")
    path, (row,) = tmp_path / "optuna.db", searched.searches("sound")
    for _ in range(2):
        assert write_copy(path, searched, "sound") == 12
        assert write_copy(path, searched, "sound") == 12  # again: nothing is added
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        study = optuna.load_study(study_name=f"sound: {row.name}", storage=storage)
        draws = searched.draws("sound", row.name)
        assert [trial.params for trial in study.trials] == [dict(draw.params) for draw in draws]
        assert [trial.value for trial in study.trials] == [draw.metrics["val_top1_last"] for draw in draws]
        storage.remove_session()
        storage.engine.dispose()
        path.unlink()
    path.mkdir()
    with pytest.raises(EnvironmentRefused, match="delete it"):
        write_copy(path, searched, "sound")


def test_a_copy_that_cannot_be_written_stops_no_search() -> None:
    def refuse() -> None:
        raise EnvironmentRefused("locked", where="optuna.db")

    store, expansion = FakeStore(), expanded(SEARCHED.replace("draws: 14", "draws: 1"))
    search = Search(expansion, store, refuse)
    search.advance()
    store.finish(store.waiting()[0])
    search.advance()
    assert search.is_done and search.notes == ["optuna.db: locked"]


def test_a_search_that_only_ours_has_is_warned_of() -> None:
    (warning,) = expanded(SEARCHED.replace("{name: dkd,", "{name: dkd, ours: true,", 1)).warnings
    assert warning.startswith("`dkd` (ours) is chosen among 14 settings, `kd`, `KD+LS` has one")
    assert expanded(SEARCHED).warnings == []
