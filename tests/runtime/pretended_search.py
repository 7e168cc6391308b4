"""A whole search in a process of its own that may be killed anywhere: real scheduler and store, jobs that pretend."""

import math
import signal
from pathlib import Path

import kdharness.runtime.scheduler as scheduler
from kdharness.core.errors import ExitCode
from kdharness.core.home import Home
from kdharness.results.owner import Owner
from kdharness.results.records import Checkpoint
from kdharness.results.store import Store
from kdharness.runtime.executors import InProcessExecutor
from kdharness.runtime.progress import NoProgress
from kdharness.study.expand import expand
from kdharness.study.load import parse_study
from kdharness.study.searching.search import Search

STUDY = """\
study: killed
dataset: digits
teachers: train
recipe: {from: digits-quick, epochs: 12, milestones: [6]}
pairs: [resnet20 -> resnet8]
distillers:
  - {name: kd, temperature: {float: [1, 16], log: true}, kd_weight: {float: [0.1, 2]}}
search: {pairs: [resnet20 -> resnet8], draws: 10, generation: 5, SHORTER, finalists: {keep: 2, seeds: 2}}
seeds: 1
tables: [{}]
"""


RUNG = 9
"""Of 12 epochs: 3/4."""


def value(constants, seed: int, epoch: int) -> float:
    """Rises to its end; best at temperature 3 and a weight of 1."""
    distance = abs(math.log(constants["temperature"] / 3)) + abs(constants["kd_weight"] - 1)
    return (90 - distance + 0.01 * seed) * (0.5 + epoch / 24)


def asked(shorter: str):
    return expand(parse_study(STUDY.replace("SHORTER", shorter).encode(), "killed.yaml"), data=Path("nowhere"))


def run(root: str, shorter: str, slots: int) -> None:
    """Bring the study to its end; where prefixes are pruned, a draw's first job stops at the rung."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    scheduler.TICK_SECONDS, scheduler.LOOK_SECONDS = 0.0005, 0.001
    home = Home(Path(root))
    store = Store(home, create=True)
    expansion = asked(shorter)
    search = Search(expansion, store)
    store.save_study("killed", expansion.study.text, expansion.wanted, path="killed.yaml", spec={})
    search.advance()

    def job(run_ids, slot):
        leases = store.claim(run_ids, Owner.current(), slot=slot)
        if leases is None:
            return ExitCode.LEASE_LOST
        code = ExitCode.DONE
        for lease in leases:
            setting, seed = store.setting(lease.run_id)
            is_draw = setting.distiller == "kd" and setting.validation > 0
            if is_draw and "prefix" in shorter and store.run(lease.run_id).epoch < RUNG:
                saved = Checkpoint(f"{lease.run_id}-{lease.fence}", "0" * 64, RUNG, RUNG, 1)
                store.commit_epoch(lease, RUNG, RUNG, {"val_top1": value(setting.constants, seed, RUNG)}, saved)
                store.release(lease, reason="signal")
                code = ExitCode.STOPPED
                continue
            last = {"val_top1_last": value(setting.constants, seed, 12)} if is_draw else {}
            store.complete(lease, last, {}, "0" * 64, None, None)
        return code

    scheduler.run_study(
        store,
        "killed",
        home=home,
        slots=[f"cpu:{number}" for number in range(slots)],
        executor=InProcessExecutor(job),
        progress=NoProgress(),
        search=search,
    )
    assert search.is_done
    store.close()


def whole_list(root: str) -> list[object]:
    """Every draw, pruning, later training and choice."""
    store = Store(Home(Path(root)))
    found: list[object] = []
    for one in store.searches("killed"):
        draws = store.draws("killed", one.name)
        found += [(draw.number, draw.generation, dict(draw.params), draw.run_id, draw.pruned_epoch) for draw in draws]
        found += [(run.number, run.rung, run.seed, run.run_id) for run in store.draw_runs("killed", one.name)]
        found.append((one.name, one.outcome))
    found += sorted((row.run_id, row.label, row.purpose) for row in store.rows("killed"))
    store.close()
    return found
