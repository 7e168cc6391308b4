"""Who goes on, who is dropped, who wins: by values worked out by hand."""

from fractions import Fraction

import pytest

from kdharness.study.searching.choosing import best, front, losers, winner
from kdharness.study.searching.record import survivors
from kdharness.study.searching.space import brought_inside, distance
from kdharness.study.spec import Choice, FloatRange, IntRange


def rungs(*texts: str) -> list[Fraction]:
    return [Fraction(text) for text in texts]


def test_each_rung_costs_about_the_same() -> None:
    assert survivors(40, rungs("1")) == [40]
    # twice as long: a half; four times as long: a quarter
    assert survivors(40, rungs("1/8", "1/4", "1")) == [40, 20, 5]
    assert survivors(27, rungs("1/9", "1/3", "1")) == [27, 9, 3]
    assert survivors(7, rungs("1/4", "1/2", "1")) == [7, 3, 1]
    assert survivors(2, rungs("1/8", "1")) == [2, 1]  # somebody arrives


def test_the_best_are_the_highest_and_of_equal_ones_the_earlier() -> None:
    values = {0: 71.0, 1: 73.0, 2: 72.0, 3: 73.0, 4: 72.0}
    assert best(values, 1) == [1]
    assert best(values, 3) == [1, 2, 3]
    assert best(values, 9) == [0, 1, 2, 3, 4]
    assert best({}, 2) == []


def test_within_one_standard_error_the_setting_nearer_the_papers_wins() -> None:
    # mean 72, standard deviation 1, over four seeds: standard error 0.5, so that 71.5 is just within it
    leader = (71.0, 71.5, 72.5, 73.0)
    assert sum((value - 72) ** 2 for value in leader) / 3 == pytest.approx(2.5 / 3)
    error = (2.5 / 3) ** 0.5 / 2  # 0.4564
    inside, outside = 72 - error + 0.01, 72 - error - 0.01
    far = {0: 0.0, 1: 0.4, 2: 0.9}
    assert winner({2: leader, 1: (inside,) * 4}, far) == 1
    assert winner({2: leader, 1: (outside,) * 4}, far) == 2
    assert winner({2: leader, 1: (inside,) * 4, 0: (inside,) * 4}, far) == 0
    # a setting that is nearer than the leader and worse than others within the error still wins
    assert winner({2: leader, 1: (71.9,) * 4, 0: (inside,) * 4}, far) == 0
    # at one distance the higher mean, then the earlier number
    assert winner({0: (70.0, 72.0), 1: (70.5, 72.0)}, {0: 1.0, 1: 1.0}) == 1
    assert winner({1: (70.0, 72.0), 0: (70.0, 72.0)}, {0: 1.0, 1: 1.0}) == 0
    # one seed has no spread
    assert winner({0: (71.99,), 1: (72.0,)}, {0: 0.0, 1: 1.0}) == 1


def test_wilcoxon_drops_who_is_worse_seed_by_seed() -> None:
    leader = (72.0, 72.5, 71.5, 73.0)
    worse = tuple(value - drop for value, drop in zip(leader, (0.5, 0.1, 0.3, 0.2), strict=True))  # p = 1/16
    mixed = tuple(value - drop for value, drop in zip(leader, (0.5, -0.1, 0.3, 0.2), strict=True))  # p = 2/16
    assert losers({0: leader, 1: worse, 2: mixed}) == [1]
    assert losers({0: leader, 1: worse, 2: mixed}, level=0.2) == [1, 2]
    assert losers({0: leader[:3], 1: worse[:3]}) == []  # 1/8 at best
    assert losers({0: leader, 1: leader}) == []
    assert losers({0: leader}) == []
    assert losers({}) == []


def test_the_front_holds_whom_nobody_beats() -> None:
    points = {0: (70.0, 10.0), 1: (72.0, 20.0), 2: (71.0, 20.0), 3: (71.0, 30.0), 4: (73.0, 40.0), 5: (72.0, 15.0)}
    assert front(points) == [0, 5, 4]
    assert front({0: (70.0, 1.0), 1: (71.0, 1.0), 2: (71.0, 1.0)}) == [1]
    assert front({}) == []


def test_points_are_brought_into_their_ranges() -> None:
    ranges = {
        "t": FloatRange(float=[1.0, 16.0], log=True),
        "w": IntRange(int=[0, 9]),
        "s": Choice(choice=["none", "zscore"]),
    }
    assert brought_inside(ranges, {"t": 0.5, "w": 20, "s": "mean"}) == {"t": 1.0, "w": 9}
    paper = {"t": 4.0, "w": 9, "s": "none"}
    assert brought_inside(ranges, paper) == paper
    # the middle of [1, 16] in logarithms is 4, of [0, 9] 4.5
    assert distance(ranges, paper, paper) == 0.0
    assert distance(ranges, {"t": 16.0, "w": 9, "s": "none"}, paper) == pytest.approx(0.5)
    assert distance(ranges, {"t": 16.0, "w": 0, "s": "zscore"}, paper) == pytest.approx((0.25 + 1 + 1) ** 0.5)
    assert distance(ranges, {"t": 16.0, "w": 0, "s": "zscore"}, {"w": 0}) == 0.0
