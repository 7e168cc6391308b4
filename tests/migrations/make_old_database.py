"""Fill a database of the present schema, once per released version: `python make_old_database.py OUT.db`.

Every table gets at least one row, and every kind of value that a later migration could lose: non-finite numbers, a
fence above 1, a label of a search, a pruned draw, a blob. The files in `old/` are never made again.
"""

import json
import math
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "results"))

from sample_study import NUMERICS, SHA, claim_one, finish, open_store, save, wanted

from kdharness.results.owner import Owner
from kdharness.results.records import Checkpoint
from kdharness.results.search_records import DrawRun, SearchRow


def make(out: Path) -> None:
    """Write the database, and beside it what it exports."""
    with tempfile.TemporaryDirectory() as home:
        store = open_store(Path(home))
        save(store, wanted((2.0, 4.0), (0, 1)), text="study: mini\n")
        save(store, wanted((4.0,), (0, 1)), text="study: mini\n# edited: ±\n")
        teacher, first, second = (row.run_id for row in store.queue("mini"))
        finish(store, teacher)
        store.release(claim_one(store, first), reason="signal")
        lease = claim_one(store, first)
        store.start(lease, numerics=NUMERICS, device="cpu", commit="abc", versions={"torch": "2.15.0"})
        made = Checkpoint(f"checkpoints/{first}/2/1.pt", "a" * 64, 1, 10, 1234)
        store.commit_epoch(lease, 1, 10, {"train_loss": math.inf, "train_top1": 50.0}, made)
        store.complete(lease, {"test_loss_last": math.nan}, {"test_top1": [(1, 9.5)]}, "6" * 64, SHA, bytes(range(9)))
        lease = claim_one(store, second, Owner("host", "boot", 1, 2, "nonce"))
        store.commit_epoch(lease, 1, 10, {"train_loss": 1.5}, Checkpoint("c.pt", "b" * 64, 1, 10, 1))
        drawn = wanted((3.0,), (0,), teacher=False, validation=0.1, purpose="search", labels=["KD"])
        store.extend_study("mini", drawn)
        store.save_searches("mini", [SearchRow("KD", {"label": "KD", "draws": 1})])
        store.save_draw("mini", "KD", 0, 0, {"temperature": 3.0}, drawn[0].run_id, 123.0)
        store.prune_draw("mini", "KD", 0, 2)
        store.save_draw_runs("mini", [DrawRun("KD", 0, 1, 1, drawn[0].run_id)])
        store.save_outcome("mini", "KD", {"winner": 0})
        store.end(claim_one(store, drawn[0].run_id), "diverged", reason="nan", message="loss is NaN in epoch 1")
        store.mirror_save(store.outbox()[0].study_run_id, external_id="e1", logged_epoch=3, finished=True)
        store.take_mirror_lease(Owner("host", "boot", 1, 2, "nonce"))
        for name, declared, sha in (("unverified", None, "7" * 64), ("verified", 99.5, "8" * 64)):
            weights = {"model": "resnet20", "dataset": "digits", "weights_sha256": sha, "path": f"teachers/{sha}"}
            store.add_teacher(name=name, **weights, declared_top1=declared, provenance={"file": "a.pth", "bytes": 1})
        store.verified("verified", measured_top1=98.25, fingerprint="f" * 64, accepted="other crop, ±")
        store.note_study("mini", "the first one, ±")
        store.note_run(first, "loss is infinite in epoch 1")
        store.tag(first, ["odd", "keep"])
        store.exclude([first], "the loss is infinite")
        exported = list(store.export("mini"))
        store.close()
        shutil.copy(Path(home) / "results.db", out)
        out.with_suffix(".json").write_text(json.dumps(exported, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
