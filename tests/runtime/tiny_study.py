"""A tiny real study on digits: a teacher, students alone and with kd."""

from kdharness.core.records import Recipe, Setting, Teacher, WantedRun
from kdharness.datasets.digits import Digits

RECIPE = Recipe(epochs=3, batch_size=256, lr=0.05, milestones=(2,), augment="shift1")
PAIR = "resnet14 -> resnet8"


def setting(distiller, student="resnet8", teacher=None, **changes):
    constants = {"kd": {"ce_weight": 0.1, "kd_weight": 0.9, "temperature": 4.0}}.get(distiller, {})
    return Setting(
        dataset="digits",
        fingerprint=Digits.fingerprint,
        student=student,
        student_revision=1,
        teachers=() if teacher is None else (Teacher(model="resnet14", revision=1, run=teacher),),
        distiller=distiller,
        distiller_revision=1,
        constants=constants,
        recipe=RECIPE.model_copy(update=changes),
    )


def wanted(seeds=1, labels=("none", "kd"), **changes):
    """The teacher first, then `seeds` runs of each label."""
    teaching = setting("none", student="resnet14", **changes)
    teacher = teaching.run(0)
    runs = [WantedRun(teaching, 0, "teacher", "teacher", PAIR, "resnet14", None)]
    for row, label in enumerate(labels, 1):
        learning = setting(label, teacher=None if label == "none" else teacher, **changes)
        runs += [
            WantedRun(learning, seed, "final", label, PAIR, "resnet8", "resnet14", teacher_id=teacher.run_id, row=row)
            for seed in range(seeds)
        ]
    return runs


def ask(store, runs, name="tiny"):
    store.save_study(name, "study: tiny\n", runs, path="tiny.yaml", spec={})
    return {f"{run.label}{run.seed}": run.run_id for run in runs}
