"""The reduced form of `make chaos`: each part once, in one process beside the tests."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PARTS = ("kills", "pauses", "runners", "locks", "stopped-writer", "clocks", "checkpoints", "databases",
         "study-files", "names", "jobs")  # fmt: skip


@pytest.fixture(scope="module")
def outcomes():
    done = subprocess.run(
        [sys.executable, str(HERE), "--size", "tests", "--json"], capture_output=True, text=True, check=False
    )
    found = {one.pop("part"): one for one in map(json.loads, done.stdout.splitlines())}
    assert found, done.stderr
    return found


@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_lost_doubled_or_wrong(outcomes, part):
    one = outcomes[part]
    assert one["tries"] > 0 and (one["lost"], one["duplicated"], one["wrong"]) == (0, 0, 0), one


def test_every_durable_step_may_fail(outcomes):
    if "crash-points" not in outcomes:
        pytest.skip("strace may not trace here")
    one = outcomes["crash-points"]
    assert one["tries"] > 3 and (one["lost"], one["duplicated"], one["wrong"]) == (0, 0, 0), one
