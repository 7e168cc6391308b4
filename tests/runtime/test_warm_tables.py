"""Seeds train side by side once a table answers for them, and the planner is told so by looking at the files."""

import numpy as np
import pytest
from tiny_study import ask, setting, wanted

from kdharness.core.errors import ExitCode
from kdharness.core.records import WantedRun
from kdharness.runtime.executors import InProcessExecutor
from kdharness.runtime.job import run_job
from kdharness.runtime.options import JobOptions
from kdharness.runtime.progress import NoProgress
from kdharness.runtime.scheduler import run_study
from kdharness.runtime.teacher_tables import fill_table
from kdharness.runtime.warm_tables import WarmTables

LIKE = {"augment": "none", "epochs": 1}


@pytest.fixture
def ids(home, store):
    """Runs of a trained teacher: two seeds of some methods."""
    asked = wanted(labels=("kd",), seeds=2, **LIKE)
    teacher = asked[0].setting.run(0)
    for method in ("rkd", "sp", "fitnet", "mlkd"):
        one = setting(method, teacher=teacher, **LIKE)
        asked += [WantedRun(one, seed, "final", method, "p", "resnet8", "resnet14") for seed in (0, 1)]
    found = ask(store, asked)
    assert run_job(home, [found["teacher0"]], slot="cpu:0") == ExitCode.DONE
    return found


def warm(home, store, ids, device="cpu", **options):
    found = WarmTables(store, home.tables, device, JobOptions(**options)).runs(store.queue())
    return {name for name, run_id in ids.items() if run_id in found}


def test_what_a_filled_table_answers_for_is_warm(home, store, ids):
    assert warm(home, store, ids) == set()
    list(fill_table(home, store, ids["teacher0"], data=home.data, augment="none"))
    assert warm(home, store, ids) == {"kd0", "kd1", "mlkd0", "mlkd1"}  # rkd reads pooled features, sp and fitnet maps
    for other in ({"device": "cuda:0"}, {"threads": 2}, {"layout": "contiguous"}):
        assert warm(home, store, ids, **other) == set()
    (index,) = home.tables.glob("*/index")
    places = np.fromfile(index, "<i4")
    places[: len(places) // 5] = 0
    places.tofile(index)
    assert warm(home, store, ids) == set()


def test_seeds_are_one_job_where_the_table_is_warm(home, store):
    found = ask(store, wanted(labels=("kd",), seeds=2, **LIKE))
    assert run_job(home, [found["teacher0"]], slot="cpu:0") == ExitCode.DONE
    list(fill_table(home, store, found["teacher0"], data=home.data, augment="none"))
    jobs = []

    def job(run_ids, slot):
        jobs.append(set(run_ids))
        return run_job(home, run_ids, slot=slot)

    tables = WarmTables(store, home.tables, "cpu", JobOptions())
    slots, progress = ("cpu:0",), NoProgress()
    options = {"home": home, "slots": slots, "executor": InProcessExecutor(job), "progress": progress}
    assert run_study(store, "tiny", warm=tables.runs, **options).exit_code == ExitCode.DONE
    assert jobs == [{found["kd0"], found["kd1"]}]
