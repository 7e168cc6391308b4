"""The list of draws is a function of the study file: killed anywhere, on any number of slots, it is the same."""

import multiprocessing
import random
import time

import pytest
from pretended_search import run, whole_list

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["ready_search", "optuna", "optuna.samplers._tpe.sampler", "optuna.pruners"])


def finish(root, shorter: str, slots: int) -> float:
    """Seconds it takes."""
    began = time.monotonic()
    process = PROCESSES.Process(target=run, args=(str(root), shorter, slots))
    process.start()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - began


@pytest.mark.parametrize("shorter", ["rungs: [1/4, 1/2, 1]", "rungs: [3/4, 1], prefix: hyperband"])
def test_a_search_that_is_killed_anywhere_draws_the_same_on_any_slots(shorter, tmp_path):
    seconds = finish(tmp_path / "undisturbed", shorter, 2)
    randomness, killed = random.Random(shorter), 0
    for _ in range(3):
        process = PROCESSES.Process(target=run, args=(str(tmp_path / "killed"), shorter, randomness.choice([1, 3])))
        process.start()
        process.join(randomness.uniform(0.2, 0.5) * seconds)
        killed += process.is_alive()
        process.kill()
        process.join()
    finish(tmp_path / "killed", shorter, 3)
    assert killed
    lists = whole_list(tmp_path / "killed"), whole_list(tmp_path / "undisturbed")
    assert lists[0] == lists[1]
    draws = [one for one in lists[0] if len(one) == 5]
    assert len(draws) == 10
    assert any(one[4] for one in draws) == ("prefix" in shorter)
