"""Analyses of finished students, from their kept weights: stored as metrics of the run, and as arrays beside it."""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdharness.core.analyses import Analysis
from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.home import Home
from kdharness.core.records import Execution
from kdharness.results.records import RunRow
from kdharness.results.store import Store
from kdharness.runtime.slots import gpu_count

if TYPE_CHECKING:
    from kdharness.evaluation.judged import Found, Judged
    from kdharness.runtime.trained import Shelf, Trained

NEED_SKLEARN = ("calibration", "features", "transfer")
_IN_TRAINING = ("step_ms", "step_memory_mib", "extra_parameters")
"""What of a cost is one of training, not of the split."""


@dataclass(frozen=True)
class Analysed:
    """What was found out about one run."""

    run_id: str
    label: str
    pair: str
    seed: int
    metrics: Mapping[str, float]
    """All that the analyses asked for have stored, now or before."""
    computed: tuple[str, ...]
    known: tuple[str, ...]
    """Analyses that had been stored before."""
    skipped: Mapping[str, str]
    """Analysis -> why it says nothing of this run."""


def require_libraries(asked: Sequence[Analysis]) -> None:
    """Raise EnvironmentRefused where an analysis needs a library that is not installed."""
    needing = [one.text for one in asked if one.name in NEED_SKLEARN]
    if needing and find_spec("sklearn") is None:
        raise EnvironmentRefused(f"{', '.join(needing)} needs scikit-learn", remedy='pip install "kdharness[report]"')


def study_runs(store: Store, study: str) -> list[str]:
    """The finished runs of a study, teachers first. Those of its search are analysed by name only: they are many."""
    return [row.run_id for row in store.queue(study) if row.state == "complete" and row.purpose != "search"]


def finished_runs(store: Store, what: str) -> list[str]:
    """As `study_runs`, or the one run that is meant. Raises BadInput for neither, and where nothing is finished."""
    if any(study.name == what for study in store.studies()):
        runs = study_runs(store, what)
        if not runs:
            raise BadInput("no run is finished yet", where=what)
        return runs
    try:
        run = store.run(store.find_run(what))
    except BadInput as error:
        raise BadInput(f"{what!r} is neither a study nor a run", remedy=error.remedy) from error
    if run.state != "complete":
        raise BadInput(f"run {run.run_id} is {run.state}: only a finished student can be analysed")
    return [run.run_id]


def evaluate_runs(
    home: Home, store: Store, run_ids: Sequence[str], asked: Sequence[Analysis], *, data: Path, again: bool = False
) -> Iterator[Analysed]:
    """Analyse one run after the other; what is stored already is not computed again, unless `again`.

    Raises EnvironmentRefused where a library, images or weights are not here, or where the kept weights do not give
    the accuracy that the run ended with; before the first run UnknownName for a method or student that is not here.
    """
    require_libraries(asked)
    missing = {run_id: [one for one in asked if again or not _path(home, run_id, one).exists()] for run_id in run_ids}
    shelf = None
    if any(missing.values()):
        _require_methods([store.run(run_id) for run_id in run_ids if missing[run_id]])
        shelf = _shelf(home, store, data)
    for run_id in run_ids:
        yield _analyse(home, store, shelf, store.run(run_id), asked, missing[run_id], again)


def _require_methods(runs: Sequence[RunRow]) -> None:
    """Raise UnknownName where a run's method or student is in a plug-in that was not named."""
    from kdharness.distillers.sums import canonical_method
    from kdharness.models.registry import MODELS

    for distiller, student in {(run.setting.distiller, run.setting.student) for run in runs}:
        canonical_method(distiller)
        MODELS.canonical(student)


def _shelf(home: Home, store: Store, data: Path) -> "Shelf":
    import torch

    from kdharness.runtime.trained import Shelf

    execution = Execution(device="cuda:0" if gpu_count() else "cpu")
    torch.set_num_threads(execution.threads)
    return Shelf(home, store, data, execution)


def _analyse(
    home: Home,
    store: Store,
    shelf: "Shelf | None",
    run: RunRow,
    asked: Sequence[Analysis],
    missing: Sequence[Analysis],
    again: bool,
) -> Analysed:
    skipped: dict[str, str] = {}
    stored: dict[str, float] = {}
    computed = []
    if missing and shelf is not None:
        for one, found in _computed(shelf, run, missing):
            if isinstance(found, str):
                skipped[one.text] = found
                continue
            metrics = {_name(run, one, name): value for name, value in found.metrics.items()}
            store.add_metrics(run.run_id, metrics, again=again)
            _write(_path(home, run.run_id, one), found)  # after the metrics: the file says that they are stored
            stored |= metrics
            computed.append(one.text)
    known = [one for one in asked if one not in missing]
    place = run.rows[0] if run.rows else None
    return Analysed(
        run_id=run.run_id,
        label=place.label if place else run.setting.distiller,
        pair=place.pair if place else run.setting.student,
        seed=run.seed,
        metrics={**run.metrics, **stored},
        computed=tuple(computed),
        known=tuple(one.text for one in known),
        skipped=skipped,
    )


def _computed(shelf: "Shelf", run: RunRow, missing: Sequence[Analysis]) -> Iterator[tuple[Analysis, "Found | str"]]:
    """Each analysis with what it found, or with the reason why it says nothing."""
    from kdharness.evaluation.accuracy import score
    from kdharness.runtime.trained import Trained, agrees

    trained = Trained(shelf, run.run_id)
    judged: Judged | str = ""
    if any(one.name != "cost" for one in missing):
        try:
            judged = trained.judged()
            top1 = run.metrics.get(f"{'val' if run.setting.validation else 'test'}_top1_last")
            agrees(top1, score(judged.logits, judged.labels).top1, len(judged.labels))
        except BadInput as error:
            judged = error.what
    for one in sorted(missing, key=lambda one: one.name == "cost"):  # a cost is measured by training on
        try:
            yield one, _found(one, trained, judged)
        except BadInput as error:
            yield one, error.what


def _found(one: Analysis, trained: "Trained", judged: "Judged | str") -> "Found | str":
    from kdharness.evaluation.analyses import OF_OUTPUTS

    if one.name == "cost":
        return trained.cost()
    if isinstance(judged, str):
        return judged
    if one.to is not None:
        if trained.setting.validation:
            return "a search run never sees a test split"
        return trained.transfer(one.to)
    if one.name == "gradients":
        return trained.gradients()
    return OF_OUTPUTS[one.name](judged) or "without a trained teacher"


def _name(run: RunRow, one: Analysis, name: str) -> str:
    """`test_ece`, `train_step_ms_cpu`, `test_transfer_stl10_top1`."""
    if one.to is not None:
        name = name.replace("transfer_", f"transfer_{one.to.replace('-', '_')}_")
    if name.startswith(_IN_TRAINING):
        return f"train_{name}"
    return f"{'val' if run.setting.validation else 'test'}_{name}"


def _path(home: Home, run_id: str, one: Analysis) -> Path:
    return home.analysis(run_id, one.text.replace(" ", "-"))


def _write(path: Path, found: "Found") -> None:
    import numpy

    from kdharness.training.files import write_durably

    buffer = io.BytesIO()
    arrays: dict[str, Any] = dict(found.arrays)
    numpy.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_durably(path, buffer.getvalue())


def describe_all(found: Iterable[Analysed]) -> Iterator[str]:
    """A line on all of them together, as they come, and one for each reason why an analysis says nothing of some."""
    runs, names, reasons = 0, set(), Counter[tuple[str, str]]()
    for analysed in found:
        runs += bool(analysed.computed)
        names |= set(analysed.computed)
        reasons.update(analysed.skipped.items())
    if runs:
        yield f"analysed {runs} finished students: {', '.join(sorted(names))}"
    for (name, reason), number in reasons.items():
        yield f"no {name} of {number} students: {reason}"


def describe(analysed: Analysed) -> str:
    """One line for a person, and one for each analysis that says nothing."""
    head = f"{analysed.label}, {analysed.pair}, seed {analysed.seed} ({analysed.run_id})"
    said = [f"computed {', '.join(analysed.computed)}"] if analysed.computed else []
    said += [f"known {', '.join(analysed.known)}"] if analysed.known else []
    lines = [f"{head}: {'; '.join(said) or 'nothing'}"]
    reasons: dict[str, list[str]] = {}
    for name, reason in analysed.skipped.items():
        reasons.setdefault(reason, []).append(name)
    return "\n".join([*lines, *(f"  no {', '.join(names)}: {reason}" for reason, names in reasons.items())])
