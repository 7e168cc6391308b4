"""Teachers that others trained: read, fitted, measured on the test split and kept; or measured later."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from kdharness.core.errors import BadInput, KdHarnessError, UnknownName
from kdharness.core.home import Home
from kdharness.core.types import Dataset
from kdharness.datasets.opening import open_dataset
from kdharness.models.naming import model_name
from kdharness.models.released.fitting import fit
from kdharness.models.released.reading import read_released
from kdharness.results.records import ImportedTeacher
from kdharness.results.store import Store
from kdharness.runtime.inputs import imported_weights
from kdharness.runtime.judge import FED, TOLERANCE, Judge
from kdharness.training import weights

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TAKEN_NAMES = ("train", "imported")


def import_teacher(
    home: Home,
    store: Store,
    file: Path,
    *,
    model: str | None,
    dataset: str,
    data: Path,
    declared_top1: float | None = None,
    accept: str | None = None,
    name: str | None = None,
    normalization: str | None = None,
) -> ImportedTeacher:
    """Take the weights of a foreign file into the home; unverified where the dataset's images are not here.

    Without `model` the file's folder names it, as mdistiller's do. It is fed with the dataset's normalisation, or
    ImageNet's (`imagenet`), whenever it is measured; None: as it was before, where it is here already. Raises BadInput
    where the file, its keys or (unless there is a reason to `accept` it) its accuracy are not what was said; nothing is
    kept then.
    """
    images = open_dataset(dataset, data)
    listed = model_name(model, images.name) if model else _model_of(file.absolute().parent, images.name)
    if listed is None:
        raise BadInput("which network is it?", where=str(file), remedy="name it with --model")
    if name is not None and (not _NAME.fullmatch(name) or name in _TAKEN_NAMES):
        raise BadInput(f"{name!r} cannot be a teacher's name", remedy="letters, digits, `.`, `_` and `-`, at most 64")
    if declared_top1 is not None and not 0 <= declared_top1 <= 100:
        raise BadInput(f"{declared_top1} cannot be a declared accuracy", remedy="percent: from 0 to 100")
    return _import(
        home,
        store,
        file,
        listed,
        Judge(images),
        declared_top1=declared_top1,
        accept=accept,
        name=name,
        normalization=normalization,
    )


def import_folder(
    home: Home, store: Store, folder: Path, *, dataset: str, data: Path
) -> Iterator[tuple[Path, ImportedTeacher | KdHarnessError]]:
    """Import every teacher of a folder laid out as mdistiller's `cifar_teachers`; one that fails does not stop others.

    Raises BadInput where no folder in it is named after a network.
    """
    images = open_dataset(dataset, data)
    places = [path for path in (folder, *_entries(folder)) if path.is_dir()]
    here = [(path, model) for path in places if (model := _model_of(path.absolute(), images.name)) is not None]
    if not here:
        raise BadInput(
            "no folder in it is named after a network, as resnet32x4_vanilla is",
            where=str(folder),
            remedy="import one file with --model",
        )
    judge = Judge(images)
    for place, model in here:
        file = place
        try:
            file = _checkpoint_in(place)
            yield file, _import(home, store, file, model, judge)
        except KdHarnessError as error:
            yield file, error


def _import(
    home: Home,
    store: Store,
    file: Path,
    model: str,
    judge: Judge,
    *,
    declared_top1: float | None = None,
    accept: str | None = None,
    name: str | None = None,
    normalization: str | None = None,
) -> ImportedTeacher:
    """See import_teacher; `model` is a listed name. The file is read before any image is asked for."""
    dataset = judge.dataset
    found = read_released(file)
    fitted = fit(found.weights, model, dataset, where=str(file))
    sha256 = weights.weights_sha256(fitted.weights)
    this = (model, dataset.name, sha256)
    imports = store.imported_teachers()
    known = next((one for one in imports if (one.model, one.dataset, one.weights_sha256) == this), None)
    _free(name, known, imports)
    if declared_top1 is None and known is not None:  # the same file again
        declared_top1, accept = known.declared_top1, accept or known.accepted
    name = name or (known.name if known is not None else f"{model}-{dataset.name}-{sha256[:8]}")
    fed = normalization or (known.normalization if known is not None else "dataset")
    measured = judge.top1(fitted.weights, model, FED[fed]) if judge.has_images else None
    if measured is not None and not accept:
        judge.compare(name, declared_top1, measured, fitted.weights, model, fed)
    weights.save_weights(home.imported_weights(sha256), fitted.weights)
    teacher = store.add_teacher(
        name=name,
        model=model,
        dataset=dataset.name,
        weights_sha256=sha256,
        path=str(home.imported_weights(sha256).relative_to(home.root)),
        declared_top1=declared_top1,
        provenance={
            "file": str(file.absolute()).encode(errors="backslashreplace").decode(),  # a name may be no UTF-8
            "file_sha256": found.sha256,
            "bytes": found.bytes,
            "format": found.format,
            "entry": found.entry,
            "prefix": fitted.prefix,
            "counters_added": fitted.counters,
            "keys_left_out": fitted.left_out,
            "figures": dict(found.figures),
            "normalization": fed,
        },
    )
    return teacher if measured is None else _enter(store, teacher, measured, dataset, accept)


def _free(name: str | None, known: ImportedTeacher | None, imports: Sequence[ImportedTeacher]) -> None:
    """Raise BadInput where the weights are here by another name, or other weights have the name."""
    if known is not None and name not in (None, known.name):
        raise BadInput(f"these weights are here already, as {known.name}", remedy="use that name in studies")
    if known is None and any(one.name == name for one in imports):
        raise BadInput(f"another teacher is called {name!r} already", remedy="choose another --name")


def verify_teacher(
    home: Home, store: Store, data: Path, teacher: ImportedTeacher, *, accept: str | None = None
) -> ImportedTeacher:
    """The teacher with what it scores here. Raises BadInput where that is not what was declared (unless there is a
    reason to `accept` it), EnvironmentRefused where its weights or the images are missing."""
    judge = Judge(open_dataset(teacher.dataset, data))
    state = imported_weights(home, teacher.weights_sha256, teacher.model)
    accept = accept or teacher.accepted
    measured = judge.top1(state, teacher.model, FED[teacher.normalization])
    if not accept:
        judge.compare(teacher.name, teacher.declared_top1, measured, state, teacher.model, teacher.normalization)
    return _enter(store, teacher, measured, judge.dataset, accept)


def _enter(
    store: Store, teacher: ImportedTeacher, measured: float, dataset: Dataset, accept: str | None
) -> ImportedTeacher:
    """Keep what was measured; a reason only where one was needed."""
    apart = teacher.declared_top1 is not None and abs(measured - teacher.declared_top1) > TOLERANCE
    return store.verified(
        teacher.name, measured_top1=measured, fingerprint=dataset.fingerprint, accepted=accept if apart else None
    )


def _model_of(folder: Path, dataset: str) -> str | None:
    """The network that a folder of checkpoints is named after: `resnet32x4_vanilla`, `wrn_40_2_vanilla`.

    RepDistiller's rule: the text before the first `_`, for `wrn` the first three parts; what stands before `_vanilla`
    is tried first. None where it is no network's name.
    """
    parts = folder.name.split("_")
    for name in (folder.name.partition("_vanilla")[0], "_".join(parts[: 3 if parts[0] == "wrn" else 1])):
        try:
            return model_name(name, dataset)
        except UnknownName:
            continue
    return None


def _checkpoint_in(folder: Path) -> Path:
    """The one file to take: the last epoch's, `*_last.*`, or the only one. Raises BadInput."""
    files = [path for path in _entries(folder) if path.is_file()]
    numbered = {int(match[1]): path for path in files if (match := re.fullmatch(r"ckpt_epoch_(\d+)\..*", path.name))}
    if numbered:
        return numbered[max(numbered)]
    files = [path for path in files if path.stem.endswith("_last")] or files
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "no file"
        raise BadInput(f"which checkpoint is it? There is {names}", where=str(folder), remedy="import the file itself")
    return files[0]


def _entries(folder: Path) -> list[Path]:
    """What is in it, by name. Raises BadInput where it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise BadInput(f"cannot be listed: {error.strerror or error}", where=str(folder)) from error
