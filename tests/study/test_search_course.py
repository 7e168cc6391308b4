"""Samplers, searches of their own for each pair, finalists: what is trained, and who wins."""

import math

import pytest
from fake_search import SEARCHED, FakeStore, to_the_end
from study_texts import expanded

from kdharness.core.records import WantedRun
from kdharness.study.cost import student_cost
from kdharness.study.searching.course import stand
from kdharness.study.searching.points import read_points
from kdharness.study.searching.search import Search

FINALISTS = "finalists: {keep: 2, seeds: 3}"


def searching(by: str, text: str = SEARCHED) -> str:
    return text.replace("draws: 14", by)


@pytest.mark.parametrize(("sampler", "draws"), [("gp", "13, generation: 12"), ("cmaes", "20"), ("nsga2", "20")])
def test_every_sampler_learns_and_draws_the_same_after_any_stop(sampler: str, draws: str) -> None:
    """The last generation knows results: gp after ten draws, cmaes and nsga2 after a population."""
    if sampler == "cmaes":
        pytest.importorskip("cmaes", reason="part of the extra `search`")
    text = searching(f"draws: {draws}, sampler: {sampler}").replace("standardize: {choice: [none, zscore]}, ", "")
    text = text.replace(", generation: 4}", "}") if "generation" in draws else text
    stores = [FakeStore() for _ in range(2)]
    to_the_end(text, stores[0])
    to_the_end(text, stores[1], reopen=True, shuffle=3)
    assert stores[0].params() == stores[1].params()
    assert stores[0].runs == stores[1].runs
    other = FakeStore(lambda run: 50.0 + float(run.setting.constants["temperature"]))
    to_the_end(text, other)
    assert other.params()[:4] == stores[0].params()[:4]
    assert other.params() != stores[0].params(), "results move later draws"


@pytest.mark.parametrize("sampler", ["cmaes", "nsga2"])
def test_every_sampler_takes_choices_and_single_ranges(sampler: str) -> None:
    if sampler == "cmaes":
        pytest.importorskip("cmaes", reason="part of the extra `search`")
    text = searching(f"draws: 6, sampler: {sampler}")
    assert to_the_end(text, FakeStore()).is_done
    one = text.replace("standardize: {choice: [none, zscore]}, ", "").replace("warmup: {int: [0, 9]}, ", "")
    assert to_the_end(one.replace(", recipe: {lr: {float: [0.01, 0.04]}}", ""), FakeStore()).is_done
    assert to_the_end(
        text.replace("temperature: {float: [1, 16], log: true}, warmup: {int: [0, 9]}, ", ""), FakeStore()
    )


def test_nsga2_weighs_the_accuracy_against_the_students_cost() -> None:
    text = searching("draws: 32, sampler: nsga2").replace(
        "recipe: {lr: {float: [0.01, 0.04]}}", "recipe: {epochs: {int: [26, 60]}}"
    )
    store = FakeStore(lambda run: 90.0)
    to_the_end(text, store)
    for draw in store.saved.values():
        assert draw.cost == student_cost(store.runs[draw.run_id].setting, expanded(text).dataset)
    costs = [draw.cost for _, draw in sorted(store.saved.items())]
    # nobody is more accurate: the cheap ones have the children
    assert sum(costs[16:]) / 16 < sum(costs[:16]) / 16


def test_with_pairs_each_every_pair_has_a_search_and_a_choice_of_its_own() -> None:
    text = searching("draws: 4").replace("pairs: [resnet20 -> resnet8], draws", "pairs: each, draws")
    text = text.replace("pairs: [resnet20 -> resnet8]\n", "pairs: [resnet20 -> resnet8, resnet32 -> resnet8]\n")

    def value(run: WantedRun) -> float:
        distance = abs(math.log(float(run.setting.constants["temperature"]) / 16))
        return 90 - distance if run.pair.startswith("resnet32") else 80 + distance

    store = FakeStore(value)
    expansion = expanded(text)
    search = to_the_end(text, store)
    names = [row.name for row in store.searches]
    assert len(set(names)) == 2 and len(store.saved) == 2 * 4
    assert expansion.search_count == 2 * 4 + 2 + 2 * 2 * 2
    finals = store.finals("dkd")
    chosen = {run.pair: run.setting.constants["temperature"] for run in finals}
    drawn = {
        pair: [draw.params["temperature"] for draw in store.saved.values() if store.runs[draw.run_id].pair == pair]
        for pair in chosen
    }
    assert chosen == {
        "resnet20 -> resnet8": min(drawn["resnet20 -> resnet8"]),
        "resnet32 -> resnet8": max(drawn["resnet32 -> resnet8"]),
    }
    assert search.is_done and [len(row.record.pairs) for row in search._rows] == [1, 1]


def test_a_pair_whose_at_fixes_the_range_is_no_search_of_its_own() -> None:
    text = searching("draws: 2").replace("pairs: [resnet20 -> resnet8], draws", "pairs: each, draws")
    text = text.replace("pairs: [resnet20 -> resnet8]\n", "pairs: [resnet20 -> resnet8, resnet32 -> resnet8]\n")
    at = "{name: dkd, temperature: {float: [1, 16], log: true}, at: {resnet32 -> resnet8: {temperature: 7}}}"
    lines = [f"  - {at}" if line.startswith("  - {name: dkd") else line for line in text.splitlines()]
    expansion = expanded("\n".join(lines) + "\n")
    assert [one.pair.label for searched in expansion.searched for one in searched.templates] == ["resnet20 -> resnet8"]
    fixed = [run for run in expansion.wanted if run.label == "dkd"]
    assert {(run.pair, run.setting.constants["temperature"]) for run in fixed} == {("resnet32 -> resnet8", 7.0)}


def test_finalists_are_trained_again_and_the_repeats_alone_decide() -> None:
    store = FakeStore()
    lucky = {}

    def value(run: WantedRun) -> float:
        """The draw with the highest temperature was lucky with the search's seed."""
        temperature = float(run.setting.constants["temperature"])
        if run.seed == 0:
            return 80 + temperature
        return 80 - temperature + 0.01 * run.seed

    store.value = value
    to_the_end(searching(f"draws: 6, {FINALISTS}"), store)
    ranked = sorted(store.saved.values(), key=lambda draw: -draw.params["temperature"])
    finalists = ranked[:2]
    assert {(run.number, run.seed) for run in store.later.values()} == {
        (draw.number, seed) for draw in finalists for seed in (1, 2, 3)
    }
    assert {run.rung for run in store.later.values()} == {0}
    (outcome,) = store.outcomes.values()
    assert outcome is not None and outcome["winner"] == finalists[1].number
    low = finalists[1].params["temperature"]
    assert outcome["value"] == pytest.approx(80 + low)
    assert outcome["repeats"] == pytest.approx([80 - low + 0.01 * seed for seed in (1, 2, 3)])
    final = store.finals("dkd")[0]
    assert final.setting.constants["temperature"] == low
    assert f"repeated {80 - low + 0.02:.2f} over 3 seeds)" in final.provenance["dkd.temperature"]
    repeats = [store.runs[run.run_id] for run in store.later.values()]
    assert {run.setting.validation for run in repeats} == {0.1} and {run.purpose for run in repeats} == {"search"}
    assert lucky == {}


def test_a_loser_among_the_finalists_is_trained_no_more_and_stands_in_the_list() -> None:
    def value(run: WantedRun) -> float:
        """The search's seed knows no difference; afterwards every seed is worse at a high temperature."""
        return 90.0 - (0 if run.seed == 0 else float(run.setting.constants["temperature"]) + 0.01 * run.seed)

    store = FakeStore(value)
    search = to_the_end(searching("draws: 3, finalists: {keep: 3, seeds: 6}"), store)
    (row,) = search._rows
    points = read_points(store, "sound", row.name, row.record)[0]
    now = stand(row.record, points)
    coldest = min(points, key=lambda point: point.params["temperature"]).number
    assert now.winner == coldest and set(now.finalists) == {0, 1, 2}
    assert {one.number: one.n for one in now.dropped} == {number: 4 for number in (0, 1, 2) if number != coldest}
    assert all("Wilcoxon" in one.why for one in now.dropped)
    assert set(now.repeats or {}) == {coldest}, "what was dropped is in no mean"
    seeds = {number: {run.seed for run in store.later.values() if run.number == number} for number in (0, 1, 2)}
    assert seeds == {number: set(range(1, 7 if number == coldest else 5)) for number in (0, 1, 2)}


def test_a_finalist_without_a_repeat_is_not_chosen() -> None:
    store = FakeStore()
    search = Search(expanded(searching(f"draws: 2, {FINALISTS}")), store)
    search.advance()
    for run in store.waiting():
        store.finish(run)
    search.advance()
    best = max(store.saved.values(), key=lambda draw: store.results[draw.run_id][1]["val_top1_last"])
    for run in store.waiting():
        store.finish(run)
    failed = next(run for run in store.later.values() if run.number == best.number)
    store.results[failed.run_id] = ("failed", {})
    search.advance()
    (outcome,) = store.outcomes.values()
    assert search.is_done and outcome is not None and outcome["winner"] != best.number
    for run in store.later.values():
        store.results[run.run_id] = ("diverged", {})
    again = Search(expanded(searching(f"draws: 2, {FINALISTS}")), store)
    again.advance()
    assert again.notes == ["`dkd`: no finalist ended well: nothing to choose from"]


@pytest.mark.parametrize("saves", range(2, 14, 3))
def test_a_stop_among_the_finalists_changes_nothing(saves: int) -> None:
    text = searching(f"draws: 6, {FINALISTS}")
    undisturbed, store = FakeStore(), FakeStore()
    to_the_end(text, undisturbed)
    store.saves_left = saves
    while True:
        try:
            to_the_end(text, store, reopen=True)
            break
        except KeyboardInterrupt:
            store.saves_left = 5
    assert (store.saved, store.later, store.outcomes) == (undisturbed.saved, undisturbed.later, undisturbed.outcomes)


def test_equal_settings_are_one_run() -> None:
    text = searching("draws: 9").replace("temperature: {float: [1, 16], log: true}, warmup: {int: [0, 9]}, ", "")
    text = text.replace(", recipe: {lr: {float: [0.01, 0.04]}}", "")
    store = FakeStore(lambda run: 80.0)
    to_the_end(text, store)
    assert len(store.saved) == 9
    assert len({draw.run_id for draw in store.saved.values()}) == 2  # none or zscore


def test_without_its_range_a_recipe_field_is_the_studys() -> None:
    text = searching("draws: 1").replace("recipe: digits-quick", "recipe: {from: digits-quick, lr: 0.03, epochs: 24}")
    store = FakeStore()
    to_the_end(text, store)
    assert store.params()[0] == {"recipe.lr": 0.03, "standardize": "none", "temperature": 4.0, "warmup": 9}
    paper = store.finals("dkd, paper's constants")[0].setting
    assert (paper.recipe.lr, paper.recipe.epochs) == (0.03, 24)


def test_the_papers_constants_are_trained_beside_the_winner() -> None:
    text = searching("draws: 3").replace(
        "pairs: [resnet20 -> resnet8]\n", "pairs: [resnet20 -> resnet8, resnet32 -> resnet8]\n"
    )
    store = FakeStore(lambda run: float(run.setting.constants["temperature"]) * 5)
    to_the_end(text, store)
    papers = store.finals("dkd, paper's constants")
    assert [(run.pair, run.seed) for run in papers] == [("resnet20 -> resnet8", 0), ("resnet20 -> resnet8", 1)]
    assert {(run.setting.constants["warmup"], run.setting.recipe.lr) for run in papers} == {
        (20, 0.05)
    }  # not brought in
    (outcome,) = store.outcomes.values()
    assert outcome is not None and outcome["paper"] == {"resnet20 -> resnet8": papers[0].setting.key}
    # where they win, or stand in the study as a row of their own, they are trained once
    inside = text.replace("warmup: {int: [0, 9]}, ", "").replace(", recipe: {lr: {float: [0.01, 0.04]}}", "")
    own = FakeStore(lambda run: 5.0)
    to_the_end(inside.replace("  - kd\n", "  - kd\n  - {name: dkd, label: as printed}\n"), own)
    (outcome,) = own.outcomes.values()
    assert outcome is not None and outcome["winner"] == 0
    assert own.finals("dkd, paper's constants") == []
