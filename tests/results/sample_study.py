"""A small study for the store's tests: a teacher, and per label a student that needs it, over some seeds."""

import random
import time

from kdharness.core.home import Home
from kdharness.core.records import Numerics, Recipe, Setting, Teacher, WantedRun
from kdharness.results.owner import Owner
from kdharness.results.records import Lease
from kdharness.results.store import Store

NUMERICS = Numerics(
    device_kind="cpu", threads=1, layout="channels_last", torch="2.15.0", torch_cuda=None, numpy="2.4.0"
)
SHA = "5" * 64


def setting(student="resnet8", distiller="kd", temperature=4.0, teachers=(), validation=0.0, epochs=3):
    return Setting(
        dataset="digits",
        fingerprint="f" * 64,
        validation=validation,
        student=student,
        student_revision=1,
        teachers=teachers,
        distiller=distiller,
        distiller_revision=1,
        constants={} if distiller == "none" else {"temperature": temperature, "kd_weight": 0.9},
        recipe=Recipe(epochs=epochs, batch_size=64, lr=0.05),
    )


def wanted(temperatures=(4.0,), seeds=(0, 1), *, teacher=True, validation=0.0, labels=None, purpose="final"):
    """A teacher run (unless `teacher` is False) and one KD run per temperature and seed."""
    taught_by = setting("resnet20", "none", validation=validation)
    runs = []
    if teacher:
        runs.append(
            WantedRun(taught_by, 0, "teacher", "teacher", "resnet20", "resnet20", None, provenance={"recipe.lr": "x"})
        )
    needs = (Teacher(model="resnet20", revision=1, run=taught_by.run(0)),) if teacher else ()
    for row, temperature in enumerate(temperatures, 1):
        one = setting(temperature=temperature, teachers=needs, validation=validation)
        provenance = {"kd.temperature": "the entry"}
        runs += [
            WantedRun(
                setting=one,
                seed=seed,
                purpose=purpose,
                label=labels[row - 1] if labels else f"KD T={temperature:g}",
                pair="resnet20 -> resnet8",
                student="resnet8",
                teacher="resnet20",
                teacher_id=taught_by.run(0).run_id if teacher else None,
                row=row,
                axes={"temperature": temperature},
                provenance=provenance,
            )
            for seed in seeds
        ]
    return runs


def save(store: Store, runs, name="mini", text="study: mini\n"):
    return store.save_study(name, text, runs, path="/studies/mini.yaml", spec={"study": name})


def claim_one(store: Store, run_id: str, owner: Owner | None = None, **more) -> Lease:
    leases = store.claim([run_id], owner or Owner.current(), slot="cpu:0", **more)
    assert leases is not None
    return leases[0]


def finish(store: Store, run_id: str, top1=90.0, **more) -> Lease:
    lease = claim_one(store, run_id)
    store.start(lease, numerics=NUMERICS, device="cpu", commit="abc", versions={"torch": "2.15.0"})
    complete(store, lease, top1, **more)
    return lease


def complete(store: Store, lease: Lease, top1=90.0, sealed=((1, 50.0), (2, 60.0), (3, 90.0)), weights=SHA):
    store.complete(lease, {"test_top1_last": top1}, {"test_top1": sealed}, weights, None, b"packed")


def open_store(root, create=True) -> Store:
    return Store(Home.at(root), create=create)


def claim_all(root, run_ids, seed):
    """What one of eight processes got: all begin at once; it tries every run, two at a time, in its own order."""
    store = open_store(root, create=False)
    owner = Owner.current()
    order = random.Random(seed).sample(run_ids, len(run_ids))
    got = []
    (root / f"ready-{seed}").touch()
    while len(list(root.glob("ready-*"))) < 8:
        time.sleep(0.01)
    for first, second in zip(order[::2], order[1::2], strict=True):
        got += store.claim([first, second], owner, slot="cpu:0") or []
    for run_id in order:
        got += store.claim([run_id], owner, slot="cpu:0") or []
    store.close()
    return [(lease.run_id, lease.fence) for lease in got]
