"""Whether two runs err alike: a worked example of McNemar's test, and what is said where it cannot be made."""

from pathlib import Path

import pytest
import torch
from pretended_study import finish
from tiny_study import ask, setting, wanted

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.records import WantedRun
from kdharness.datasets.digits import Digits
from kdharness.runtime.predictions import agreement, pack

LABELS = Digits(Path()).split("test").labels
N = len(LABELS)


def answers(*wrong: int) -> tuple[float, bytes]:
    """The accuracy and the packed predictions of a network that errs on these images alone."""
    predicted = LABELS.clone()
    predicted[list(wrong)] = (predicted[list(wrong)] + 1) % 10
    return 100 * (N - len(wrong)) / N, pack(predicted, torch.ones(N))


@pytest.fixture
def two(store):
    ids = ask(store, wanted(seeds=2))

    def make(first: tuple[float, bytes], second: tuple[float, bytes]):
        finish(store, ids["teacher0"], 95.0)
        for name, (top1, packed) in (("kd0", first), ("kd1", second)):
            finish(store, ids[name], top1, packed)
        return store.run(ids["kd0"]), store.run(ids["kd1"])

    return make


def test_one_of_eight(store, home, two):
    """Both err on images 0 to 9; the first alone on 10 to 16, the second alone on 17: 2 (1 + 8) / 256."""
    runs = two(answers(*range(17)), answers(*range(10), 17))
    found = agreement(store, home.data, *runs)
    assert (found.images, found.neither, found.both) == (N, 10, N - 18)
    assert (found.first_only, found.second_only) == (1, 7)
    assert found.p_value == pytest.approx(18 / 256)
    turned = agreement(store, home.data, *reversed(runs))
    assert (turned.first_only, turned.second_only, turned.p_value) == (7, 1, found.p_value)


def test_predictions_that_do_not_have_the_accuracy_are_refused(store, home, two):
    top1, packed = answers(1, 2, 3)
    with pytest.raises(EnvironmentRefused, match="do not have its accuracy"):
        agreement(store, home.data, *two((top1 + 1, packed), (top1, packed)))


@pytest.mark.parametrize("keep", [0, 1, 100, -40])
def test_damaged_predictions_are_refused(store, home, two, keep):
    top1, packed = answers(1, 2, 3)
    with pytest.raises(EnvironmentRefused, match="cannot be read"):
        agreement(store, home.data, *two((top1, packed[:keep]), (top1, packed)))


def test_it_says_why_there_are_none(store, home):
    ids = ask(store, wanted())
    none, kd = (store.run(ids[name]) for name in ("none0", "kd0"))
    with pytest.raises(BadInput, match=r"is waiting: it has no predictions yet\n.*status"):
        agreement(store, home.data, none, kd)
    searched = WantedRun(setting("none").model_copy(update={"validation": 0.1}), 0, "search", "s", "p", "resnet8", None)
    (run_id,) = ask(store, [searched], "searched").values()
    finish(store, run_id, None, None)
    with pytest.raises(BadInput, match="a search run never sees the test images"):
        agreement(store, home.data, store.run(run_id), store.run(run_id))
    other = setting("none").model_copy(update={"fingerprint": "f" * 64})
    (run_id,) = ask(store, [WantedRun(other, 0, "final", "o", "p", "resnet8", None)], "other").values()
    with pytest.raises(BadInput, match="on other images"):
        agreement(store, home.data, none, store.run(run_id))
