"""A search draws the same values after any stop, sees validation images only, and ends in final runs."""

import builtins
import math
from dataclasses import replace
from typing import Any

import pytest
from fake_search import SEARCH, SEARCHED, FakeStore, to_the_end
from study_texts import SOUND, expanded

from kdharness.core.errors import EnvironmentRefused
from kdharness.core.records import State
from kdharness.study.searching.search import Search


@pytest.fixture(scope="module")
def undisturbed() -> FakeStore:
    store = FakeStore()
    assert to_the_end(SEARCHED, store).is_done
    return store


def test_draws_do_not_depend_on_stops_nor_on_the_order_in_which_runs_end(undisturbed: FakeStore) -> None:
    for options in ({"reopen": True}, {"shuffle": 1}, {"shuffle": 2, "reopen": True}):
        store = FakeStore()
        assert to_the_end(SEARCHED, store, **options).is_done
        assert store.params() == undisturbed.params()
        assert store.runs == undisturbed.runs


@pytest.mark.parametrize("saves", [0, 1, 3, 5, 11])
def test_a_stop_in_the_middle_of_a_generation_changes_nothing(saves: int, undisturbed: FakeStore) -> None:
    store = FakeStore()
    store.saves_left = saves
    with pytest.raises(KeyboardInterrupt):
        to_the_end(SEARCHED, store)
    store.saves_left = math.inf
    to_the_end(SEARCHED, store)
    assert store.params() == undisturbed.params()


def test_draws_stay_what_they_were(undisturbed: FakeStore) -> None:
    """A change here makes every user search again: frozen as the first version with one stream drew them."""
    assert {name for name, _ in undisturbed.saved} == {"dkd#7a302b68"}
    last = {"temperature": 3.568442330136583, "warmup": 2, "standardize": "none", "recipe.lr": 0.03885560590315139}
    assert undisturbed.params()[13] == pytest.approx(last)


@pytest.mark.parametrize(
    ("sampler", "name", "last"),
    [
        ("tpe", "dkd#936495cc", (4.912142623232844, 2, "zscore", 0.010278862430692867)),
        ("random", "dkd#9dc31bbf", (2.308995128673367, 5, "zscore", 0.016386962295455325)),
    ],
)
def test_a_search_that_began_with_a_stream_of_its_own_goes_on_with_it(
    sampler: str, name: str, last: tuple[Any, ...], undisturbed: FakeStore
) -> None:
    """As an earlier version would have drawn: frozen as it did."""
    store = FakeStore()
    store.runs.update(undisturbed.runs)
    first = next(draw for (_, number), draw in undisturbed.saved.items() if number == 0)  # the paper's in every stream
    store.saved[name, 0] = replace(first, label=name)
    to_the_end(SEARCHED.replace("draws: 14", f"draws: 14, sampler: {sampler}"), store)
    assert {name for name, _ in store.saved} == {name}
    assert store.params()[13] == pytest.approx(
        dict(zip(("temperature", "warmup", "standardize", "recipe.lr"), last, strict=True))
    )


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_no_row_is_luckier_in_its_random_numbers(sampler: str) -> None:
    """Rows with equal ranges get equal random draws; where names or bounds differ, the same points of the unit cube."""
    rows = """\
  - {name: kd, temperature: {float: [1, 16], log: true}, kd_weight: {float: [0, 1]}}
  - {name: kd, standardize: zscore, label: LS, temperature: {float: [1, 16], log: true}, kd_weight: {float: [0, 1]}}
  - {name: kd, standardize: mean, label: other, temperature: {float: [2, 32], log: true}, kd_weight: {float: [1, 3]}}
"""
    before, after = SOUND.split("  - none\n")[0], SOUND[SOUND.index("seeds:") :]
    text = before + rows + after + SEARCH.replace("draws: 14", f"draws: 10, sampler: {sampler}")
    store = FakeStore(lambda run: float(run.setting.constants["temperature"]) * (-1) ** len(run.label))
    to_the_end(text, store)
    kd, ls, other = (
        [draw.params for (name, _), draw in sorted(store.saved.items()) if name.startswith(label + "#")][1:]
        for label in ("kd", "LS", "other")
    )
    assert len(kd) == 9 and kd == ls
    assert [(one["temperature"], one["kd_weight"]) for one in other] == [
        (pytest.approx(2 * one["temperature"]), pytest.approx(1 + 2 * one["kd_weight"])) for one in kd
    ]


def test_the_first_draw_is_the_default_brought_into_the_ranges(undisturbed: FakeStore) -> None:
    assert undisturbed.params()[0] == {"temperature": 4.0, "warmup": 9, "standardize": "none", "recipe.lr": 0.04}


def test_generations_wait_for_each_other() -> None:
    store, expansion = FakeStore(), expanded(SEARCHED)
    search = Search(expansion, store)
    assert search.advance() == 4 + 1
    for run in store.waiting()[:3]:
        store.finish(run)
    assert search.advance() == 0
    store.finish(store.waiting()[0])
    assert search.advance() == 4
    assert [draw.generation for draw in store.draws("", search._rows[0].name)] == [0] * 4 + [1] * 4
    assert not search.is_done


def test_later_draws_learn_from_earlier_results(undisturbed: FakeStore) -> None:
    other = FakeStore(lambda run: 50.0 + run.setting.constants["temperature"])
    to_the_end(SEARCHED, other)
    assert other.params()[:12] == undisturbed.params()[:12]  # ten draws and the rest of their generation are random
    assert other.params()[12:] != undisturbed.params()[12:]


def test_search_runs_and_their_teacher_train_without_the_validation_images(undisturbed: FakeStore) -> None:
    searching = [run for run in undisturbed.runs.values() if run.purpose == "search"]
    assert len(searching) == 14
    teachers = {key.run_id for run in searching for key in run.needs}
    assert len(teachers) == 1
    (teacher,) = (undisturbed.runs[run_id] for run_id in teachers)
    assert teacher.purpose == "teacher"
    assert {run.setting.validation for run in (*searching, teacher)} == {0.1}
    assert {run.seed for run in searching} == {0}


def test_the_best_draw_becomes_the_final_runs_of_all_pairs_and_seeds() -> None:
    text = SEARCHED.replace("pairs: [resnet20 -> resnet8]\n", "pairs: [resnet20 -> resnet8, resnet32 -> resnet8]\n")
    store = FakeStore()
    to_the_end(text, store)
    best = max(store.saved.values(), key=lambda draw: store.results[draw.run_id][1]["val_top1_last"])
    finals = store.finals("dkd")
    assert [(run.pair, run.seed) for run in finals] == [
        (pair, seed) for pair in ("resnet20 -> resnet8", "resnet32 -> resnet8") for seed in (0, 1)
    ]
    assert {run.setting.validation for run in finals} == {0.0}
    assert {run.setting.constants["temperature"] for run in finals} == {best.params["temperature"]}
    assert {run.setting.recipe.lr for run in finals} == {best.params["recipe.lr"]}
    assert finals[0].provenance["dkd.temperature"].startswith(f"search draw {best.number} of 14 (val_top1_last 8")
    assert finals[0].provenance["dkd.ce_weight"] == "preset zhao2022dkd"
    assert all(store.runs[need.run_id].setting.validation == 0.0 for run in finals for need in run.needs)


def test_a_draw_on_two_pairs_counts_by_their_mean() -> None:
    pairs = "pairs: [resnet20 -> resnet8, resnet32 -> resnet8]"
    text = SEARCHED.replace("pairs: [resnet20 -> resnet8]", pairs).replace("draws: 14", "draws: 2")
    store = FakeStore()
    search = Search(expanded(text), store)
    assert search.advance() == 2 * 2 + 2
    values = {"resnet20 -> resnet8": (80.0, 70.0), "resnet32 -> resnet8": (60.0, 71.0)}
    for run in store.waiting():
        number = int(run.provenance["dkd.temperature"].split()[-1])
        store.results[run.run_id] = ("complete", {"val_top1_last": values[run.pair][number]})
    search.advance()
    final = store.finals("dkd")[0]
    assert final.provenance["dkd.temperature"].startswith("search draw 1 of 2 (val_top1_last 70.50")


def test_draws_without_a_result_are_passed_over() -> None:
    store = FakeStore()
    search = Search(expanded(SEARCHED.replace("draws: 14", "draws: 6")), store)
    search.advance()
    ends: list[tuple[State, dict[str, float]]] = [
        ("failed", {}),
        ("diverged", {"val_top1_last": math.nan}),
        ("complete", {"val_top1_last": math.nan}),
        ("complete", {"val_top1_last": 40.0}),
    ]
    for run, end in zip(store.waiting(), ends, strict=True):
        store.results[run.run_id] = end
    search.advance()
    for run in store.waiting():
        store.results[run.run_id] = ("failed", {})
    search.advance()
    assert search.is_done
    final = store.finals("dkd")[0]
    assert final.provenance["dkd.temperature"].startswith("search draw 3 of 6")


def test_a_search_without_any_result_chooses_nothing_and_says_so() -> None:
    store = FakeStore()
    search = Search(expanded(SEARCHED.replace("draws: 14", "draws: 2")), store)
    search.advance()
    store.results.update({run.run_id: ("failed", {}) for run in store.waiting()})
    search.advance()
    assert search.is_done
    assert search.notes == ["`dkd`: none of its 2 draws has a val_top1_last: nothing to choose from"]
    assert not store.finals()


def test_more_draws_go_on_and_other_ranges_begin_anew(undisturbed: FakeStore) -> None:
    store = FakeStore()
    to_the_end(SEARCHED, store)
    to_the_end(SEARCHED.replace("draws: 14", "draws: 18").replace("label: KD+LS", "label: LS"), store)
    assert store.params()[:14] == undisturbed.params()
    assert len(store.saved) == 18
    to_the_end(SEARCHED.replace("[1, 16]", "[1, 17]"), store)
    assert len(store.saved) == 18 + 14


def test_an_axis_beside_a_range_makes_a_search_each() -> None:
    text = SEARCHED.replace("warmup: {int: [0, 9]}", "warmup: {each: [1, 2]}").replace("draws: 14", "draws: 3")
    store = FakeStore()
    to_the_end(text, store)
    finals = store.finals("dkd")
    assert [(run.axes["warmup"], run.seed) for run in finals] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert all(run.setting.constants["warmup"] == run.axes["warmup"] for run in store.runs.values() if run.axes)


def test_random_draws_are_reproducible_too() -> None:
    stores = [FakeStore(), FakeStore()]
    for store, reopen in zip(stores, (False, True), strict=True):
        to_the_end(SEARCHED.replace("draws: 14", "draws: 14, sampler: random"), store, reopen=reopen)
    assert stores[0].params() == stores[1].params()


def test_without_optuna_a_search_is_one_clear_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "optuna":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentRefused) as error:
        Search(expanded(SEARCHED), FakeStore())
    assert error.value.remedy == 'pip install "kdharness[search]"'
    assert Search(expanded(SOUND), FakeStore()).is_done


def test_the_size_of_a_search_is_counted() -> None:
    expansion = expanded(SEARCHED)
    assert expansion.search_count == 14 + 1 + 2 * 2  # draws, their teacher, the choice and the papers' constants
    assert expansion.count == 1 + 2 * 2 + expansion.search_count
