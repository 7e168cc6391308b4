"""Shorter schedules and pruned prefixes: what is trained, who goes on, and that it is a function of the study alone."""

import math
from fractions import Fraction
from pathlib import Path

import pytest
from fake_search import SEARCHED, FakeStore, to_the_end
from study_texts import expanded, problems

from kdharness.study.check import study_pairs
from kdharness.study.images import dataset_of
from kdharness.study.resolve import settle, template
from kdharness.study.rows import rows
from kdharness.study.searching.course import stand
from kdharness.study.searching.points import read_points
from kdharness.study.searching.sampling import distributions, told
from kdharness.study.searching.schedule import scaled, shortened
from kdharness.study.searching.search import Search

RUNGS = "rungs: [1/8, 1/4, 1]"
PREFIX = "rungs: [3/4, 9/10, 1], prefix"


def searching(by: str) -> str:
    return SEARCHED.replace("draws: 14", by)


def test_every_number_of_epochs_shrinks_alike() -> None:
    assert [scaled(epochs, Fraction(1, 8)) for epochs in (240, 150, 180, 210, 20, 4, 3, 1, 0)] == [
        30, 19, 23, 26, 3, 1, 1, 1, 0,
    ]  # fmt: skip
    text = SEARCHED.replace("- {name: dkd, temperature", "- {name: dkd, warmup: 20, temperature", 1)
    text = text.replace("warmup: {int: [0, 9]}, ", "")
    study = expanded(text).study
    (row, *_), (pair, *_) = rows(study.spec), study_pairs(study.spec)
    made = template(study.spec, row, pair, dataset_of(study.spec, Path("nowhere")), lambda place: 0)
    whole = settle(made, {"temperature": 4.0, "standardize": "none", "recipe.lr": 0.03})
    short = shortened(whole, Fraction(1, 4))
    assert (short.config.warmup, short.recipe.epochs, short.recipe.milestones) == (5, 8, (5, 6))
    assert short.config.model_copy(update={"warmup": 20}) == whole.config
    assert short.recipe.model_copy(update={"epochs": 30, "milestones": (18, 25)}) == whole.recipe
    assert shortened(whole, Fraction(1)) is whole


def test_a_sums_members_and_phases_shrink_too() -> None:
    text = SEARCHED.replace("- {name: dkd,", "- {name: dkd + ab, ab.init_epochs: 30,", 1)
    for name in ("temperature", "warmup", "standardize"):
        text = text.replace(f"{name}: {{", f"dkd.{name}: {{", 1)
    study = expanded(text).study
    (row, *_), (pair, *_) = rows(study.spec), study_pairs(study.spec)
    made = template(study.spec, row, pair, dataset_of(study.spec, Path("nowhere")), lambda place: 0)
    chosen = {"dkd.temperature": 4.0, "dkd.warmup": 8, "dkd.standardize": "none", "recipe.lr": 0.03}
    short = shortened(settle(made, chosen), Fraction(1, 4))
    assert (short.config.dkd.warmup, short.config.ab.init_epochs) == (2, 8)


def test_the_best_of_each_rung_are_trained_on_the_next() -> None:
    store = FakeStore()
    search = to_the_end(searching(f"draws: 14, {RUNGS}"), store)
    (row,) = search._rows
    # 14 draws for 4 epochs, the best 7 for 8, of these the best 1 (7/4) for 30
    epochs: dict[int, list[int]] = {}
    for (_, number), draw in store.saved.items():
        epochs.setdefault(number, []).append(store.runs[draw.run_id].setting.recipe.epochs)
    for run in store.later.values():
        epochs[run.number].append(store.runs[run.run_id].setting.recipe.epochs)
    assert sorted(map(len, epochs.values())) == [1] * 7 + [2] * 6 + [3]
    assert {tuple(run) for run in epochs.values()} == {(4,), (4, 8), (4, 8, 30)}
    value = {number: store.results[draw.run_id][1]["val_top1_last"] for (_, number), draw in store.saved.items()}
    climbed = sorted(value, key=lambda number: -value[number])
    assert {number for number in epochs if len(epochs[number]) > 1} == set(climbed[:7])
    now = stand(row.record, read_points(store, "sound", row.name, row.record)[0])
    assert now.winner == climbed[0]
    assert sorted((one.number, one.n) for one in now.dropped) == sorted(
        [(number, 1) for number in climbed[7:]] + [(number, 2) for number in climbed[1:7]]
    )
    assert store.finals("dkd")[0].setting.recipe.epochs == 30
    assert expanded(searching(f"draws: 14, {RUNGS}")).search_count == 14 + 7 + 1 + 1 + 2 * 2


def test_a_rung_is_another_search_and_its_runs_are_settings_of_their_own() -> None:
    plain, halved = FakeStore(), FakeStore()
    to_the_end(searching("draws: 4"), plain)
    to_the_end(searching(f"draws: 4, {RUNGS}"), halved)
    assert {name for name, _ in plain.saved} != {name for name, _ in halved.saved}
    whole = {run.run_id for run in plain.runs.values() if run.purpose == "search"}
    assert not whole & {draw.run_id for draw in halved.saved.values()}


def test_a_draw_that_fails_on_a_rung_is_dropped() -> None:
    store = FakeStore()
    search = Search(expanded(searching(f"draws: 4, {RUNGS}")), store)
    search.advance()
    first, *others = store.waiting()
    store.results[first.run_id] = ("diverged", {})
    for run in others:
        store.finish(run)
    search.advance()
    assert {run.number for run in store.later.values()} <= {1, 2, 3}
    (row,) = search._rows
    assert [
        (one.number, one.why)
        for one in stand(row.record, read_points(store, "sound", row.name, row.record)[0]).dropped
        if one.number == 0
    ] == [(0, "no val_top1_last")]


def test_draws_rungs_and_finalists_come_out_the_same_after_stops_anywhere() -> None:
    text = searching(f"draws: 11, {RUNGS}, finalists: {{keep: 2, seeds: 5}}")
    undisturbed = FakeStore()
    to_the_end(text, undisturbed)
    for shuffle, saves in ((1, 6), (2, 9)):
        store = FakeStore()
        store.saves_left = saves
        while True:
            try:
                to_the_end(text, store, reopen=True, shuffle=shuffle)
                break
            except KeyboardInterrupt:
                store.saves_left = saves
        assert (store.saved, store.later, store.outcomes, store.runs) == (
            undisturbed.saved,
            undisturbed.later,
            undisturbed.outcomes,
            undisturbed.runs,
        )


def pruned(store: FakeStore) -> dict[int, int | None]:
    return {number: draw.pruned_epoch for (_, number), draw in sorted(store.saved.items())}


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_prunings_are_a_function_of_the_study(pruner: str) -> None:
    """Whether runs are looked at after every epoch or when they have ended, in whatever order."""
    text = searching(f"draws: 14, {PREFIX}: {pruner}")
    late = FakeStore()
    to_the_end(text, late)
    assert 0 < sum(epoch is not None for epoch in pruned(late).values()) < 14
    watched = FakeStore()
    search = Search(expanded(text), watched)
    search.advance()
    assert search.watches
    steps = 0
    while waiting := watched.waiting():
        run = waiting[steps * 7 % len(waiting)]
        at = len(watched.epochs.get(run.run_id, ())) + 4
        if at < 30:
            watched.train(run, at)
        else:
            watched.finish(run)
        steps += 1
        if steps % 40 == 0:
            search = Search(expanded(text), watched)
        search.advance()
    assert not search.watches
    assert pruned(watched) == pruned(late)
    assert watched.params() == late.params()
    assert watched.outcomes == late.outcomes
    stopped = [run_id for run_id, (state, _) in watched.results.items() if state == "pruned"]
    assert stopped and all(len(watched.epochs[run_id]) < 30 for run_id in stopped), "they were not trained to the end"
    (row,) = search._rows
    now = stand(row.record, read_points(watched, "sound", row.name, row.record)[0])
    gone = {one.number for one in now.dropped}
    assert gone == {number for number, epoch in pruned(late).items() if epoch is not None}
    assert now.winner not in gone


def test_the_median_prunes_who_is_below_it_among_earlier_generations() -> None:
    """Five whole runs come first; then a draw below the median of their values at the rung is given up there."""
    text = searching("draws: 12, sampler: random, rungs: [3/4, 1], prefix: true")
    store = FakeStore()
    to_the_end(text, store)
    value = [store.epochs[draw.run_id][22].value for _, draw in sorted(store.saved.items())]  # scaled(30, 3/4) = 23
    whole: list[float] = []
    for first in range(0, 12, 4):
        middle = sorted(whole)
        median = (middle[(len(middle) - 1) // 2] + middle[len(middle) // 2]) / 2 if len(middle) >= 5 else -math.inf
        for number in range(first, first + 4):
            assert (pruned(store)[number] == 23) == (value[number] < median), number
        whole += [value[number] for number in range(first, first + 4) if pruned(store)[number] is None]


@pytest.mark.parametrize("rungs", ["", f", {RUNGS}", f", {PREFIX}: median"], ids=["whole", "rungs", "prefix"])
@pytest.mark.parametrize("finalists", ["", ", finalists: {keep: 1, seeds: 1}"], ids=["", "finalists"])
def test_a_run_that_another_search_pruned_goes_on(rungs: str, finalists: str) -> None:
    """On whichever rung and with whichever seed this one wants it whole; it is as if nobody had pruned it."""
    text = searching(f"draws: 2{rungs}{finalists}")
    undisturbed = FakeStore()
    to_the_end(text, undisturbed)
    store = FakeStore()
    search = Search(expanded(text), store)
    search.advance()
    pruned: set[str] = set()
    for _ in range(20):
        if not (waiting := store.waiting()):
            break
        for run in waiting:
            if run.run_id in pruned:
                store.finish(run)
            else:  # the first time somebody else ends it
                pruned.add(run.run_id)
                store.prune("", [run.run_id], "")
        assert search.advance() > 0 or search.is_done, "the queue is read again where runs wait again"
    assert search.is_done and len(pruned) == sum(run.purpose == "search" for run in store.runs.values())
    assert (store.outcomes, store.runs, store.later) == (undisturbed.outcomes, undisturbed.runs, undisturbed.later)


def test_what_a_search_has_pruned_stays_so_when_another_brings_it_to_its_end() -> None:
    """For the search itself, and for those who read its points without judging them: `search show`, the dashboard."""
    text = searching(f"draws: 14, {PREFIX}: median")
    store = FakeStore()
    search = to_the_end(text, store)
    before = dict(store.outcomes)
    gone = {number: epoch for number, epoch in pruned(store).items() if epoch is not None}
    assert gone
    for (_, number), draw in store.saved.items():
        if number in gone:
            store.results[draw.run_id] = ("complete", {"val_top1_last": 99.0})  # it would have won
    again = Search(expanded(text), store)
    again.advance()
    assert again.is_done and store.outcomes == before and {n: e for n, e in pruned(store).items() if e} == gone
    (row,) = search._rows
    points = read_points(store, "sound", row.name, row.record)[0]
    now = stand(row.record, points)
    assert [now.winner] == [one["winner"] for one in before.values() if one is not None]
    assert {one.number: one.why for one in now.dropped} == {
        number: f"pruned after epoch {epoch}" for number, epoch in gone.items()
    }
    frozen = [told(row.record, point, distributions(row.record.ranges)) for point in points]
    assert {one.number for one, trial in zip(points, frozen, strict=True) if trial.state.name == "PRUNED"} == set(gone)
    assert all(trial.value is None for point, trial in zip(points, frozen, strict=True) if point.number in gone)


def test_nothing_is_judged_before_the_first_drop() -> None:
    assert problems(searching(f"draws: 3, {PREFIX}: true")) == []
    cosine = searching("draws: 3, rungs: [1/3, 1], prefix: true").replace(
        "recipe: {lr", "recipe: {schedule: cosine, milestones: [], lr"
    )
    assert problems(cosine) == []
    (line,) = problems(cosine.replace("[1/3, 1]", "[1/5, 1]"))
    assert "`dkd` would be judged after epoch 6 of 30, before the end of its warm-up (`warmup` 9)" in line
