"""A finished study whose numbers were never trained: written through the store's verbs."""

from pathlib import Path

from tiny_study import wanted

from kdharness.core.home import Home
from kdharness.core.records import Numerics
from kdharness.results.owner import Owner
from kdharness.results.store import Store

NUMERICS = Numerics(
    device_kind="cpu", threads=1, layout="channels_last", torch="2.15.0", torch_cuda=None, numpy="2.4.0"
)
TEXT = "study: tiny\n# as it was run\n"


def pretend(root: Path, *, seeds: int = 3, unfinished: int = 0) -> Home:
    """The tiny study in a new home; its last `unfinished` runs wait."""
    home = Home(root)
    store = Store(home, create=True)
    runs = wanted(seeds=seeds, labels=("none", "kd"))
    spec = {
        "study": "tiny",
        "tables": [{"baseline": "none"}, {"metric": "test_top5", "rows": "pair", "columns": "distiller"}],
    }
    store.save_study("tiny", "study: tiny\n", runs, path="/secret/place/tiny.yaml", spec=spec)
    store.save_study("tiny", TEXT, runs, path="/secret/place/tiny.yaml", spec=spec)
    ids = list(dict.fromkeys(run.run_id for run in runs))
    for number, run_id in enumerate(ids[: len(ids) - unfinished]):
        finish(store, run_id, 90.0 + number * 1.25)
    store.note_study("tiny", "a note")
    store.close()
    return home


def finish(store: Store, run_id: str, top1: float | None, packed: bytes | None = b"predictions") -> None:
    """Complete a run; with no accuracy as one of a search."""
    (lease,) = store.claim([run_id], Owner.current(), slot="cpu:0") or []
    store.start(lease, numerics=NUMERICS, device="cpu", commit="abc", versions={"torch": "2.15.0"})
    for epoch in (1, 2, 3):
        store.commit_epoch(lease, epoch, epoch, {"train_loss": 2.0 / epoch}, None)
    finals, sealed = {"train_loss_last": 2.0 / 3}, {}
    if top1 is not None:
        finals |= {"test_top1_last": top1, "test_top1_best": top1 + 0.5, "test_top5_last": 99.0}
        sealed["test_top1"] = [(1, 50.0), (2, top1 + 0.5), (3, top1)]
        sealed["test_top5"] = [(1, 80.0), (2, 99.0), (3, 99.0)]
    store.complete(lease, finals, sealed, hash_of(run_id), None, packed)


def hash_of(run_id: str) -> str:
    return (run_id.replace("-", "") * 6)[:64]
