"""Teachers that others trained: read, fitted, measured on the test split and kept; or measured later."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from kdharness.core.errors import BadInput, EnvironmentRefused, KdHarnessError, UnknownName
from kdharness.core.home import Home
from kdharness.core.types import Dataset, Normalization, Split
from kdharness.datasets.opening import open_dataset
from kdharness.evaluation.accuracy import evaluate
from kdharness.models.naming import model_name
from kdharness.models.registry import MODELS
from kdharness.models.released.fitting import fit
from kdharness.models.released.reading import read_released
from kdharness.results.records import ImportedTeacher
from kdharness.results.store import Store
from kdharness.runtime.inputs import imported_weights
from kdharness.runtime.slots import gpu_count
from kdharness.training import weights
from kdharness.training.inputs import set_products

TOLERANCE = 0.3
"""Points of top-1 accuracy between what is declared and what is measured here."""
_TRIED_IMAGES = 2000
_OTHER_NORMALIZATIONS = {
    "the mean and std of CIFAR-10": Normalization(
        (125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)
    ),
    "the mean and std of CIFAR-100": Normalization((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "the mean and std of ImageNet": Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "mean and std 0.5": Normalization((0.5,) * 3, (0.5,) * 3),
    "pixels from 0 to 1": Normalization((0.0,) * 3, (1.0,) * 3),
}
"""What else networks are fed with in the field, by how a message names it."""
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
) -> ImportedTeacher:
    """Take the weights of a foreign file into the home; unverified where the dataset's images are not here.

    Without `model` the file's folder names it, as mdistiller's do. Raises BadInput where the file, its keys or (unless
    there is a reason to `accept` it) its accuracy are not what was said; nothing is kept then.
    """
    images = open_dataset(dataset, data)
    listed = model_name(model, images.name) if model else _model_of(file.absolute().parent, images.name)
    if listed is None:
        raise BadInput("which network is it?", where=str(file), remedy="name it with --model")
    if name is not None and (not _NAME.fullmatch(name) or name in _TAKEN_NAMES):
        raise BadInput(f"{name!r} cannot be a teacher's name", remedy="letters, digits, `.`, `_` and `-`, at most 64")
    found = read_released(file)
    fitted = fit(found.weights, listed, images, where=str(file))
    sha256 = weights.weights_sha256(fitted.weights)
    known = [
        one
        for one in store.imported_teachers()
        if (one.model, one.dataset, one.weights_sha256) == (listed, images.name, sha256)
    ]
    if declared_top1 is None and known:  # the same file again
        declared_top1, accept = known[0].declared_top1, accept or known[0].accepted
    name = name or (known[0].name if known else f"{listed}-{images.name}-{sha256[:8]}")
    test = _test_split(images)
    measured = None if test is None else measure(fitted.weights, listed, images, test)
    if test is not None and measured is not None and not accept:
        _compare(name, declared_top1, measured, fitted.weights, listed, images, test)
    weights.save_weights(home.imported_weights(sha256), fitted.weights)
    teacher = store.add_teacher(
        name=name,
        model=listed,
        dataset=images.name,
        weights_sha256=sha256,
        path=str(home.imported_weights(sha256).relative_to(home.root)),
        declared_top1=declared_top1,
        provenance={
            "file": str(file.absolute()),
            "file_sha256": found.sha256,
            "bytes": found.bytes,
            "format": found.format,
            "entry": found.entry,
            "prefix": fitted.prefix,
            "counters_added": fitted.counters,
            "keys_left_out": fitted.left_out,
            "figures": dict(found.figures),
        },
    )
    if measured is None:
        return teacher
    return _enter(store, teacher, measured, images, accept)


def import_folder(
    home: Home, store: Store, folder: Path, *, dataset: str, data: Path
) -> Iterator[tuple[Path, ImportedTeacher | KdHarnessError]]:
    """Import every teacher of a folder laid out as mdistiller's `cifar_teachers`; one that fails does not stop others.

    Raises BadInput where no folder in it is named after a network.
    """
    images = open_dataset(dataset, data)
    here = sorted(path for path in (folder, *folder.iterdir()) if path.is_dir() and _model_of(path, images.name))
    if not here:
        raise BadInput(
            "no folder in it is named after a network, as resnet32x4_vanilla is",
            where=str(folder),
            remedy="import one file with --model",
        )
    for place in here:
        file = place
        try:
            file = _checkpoint_in(place)
            yield file, import_teacher(home, store, file, model=None, dataset=dataset, data=data)
        except KdHarnessError as error:
            yield file, error


def verify_teacher(
    home: Home, store: Store, data: Path, teacher: ImportedTeacher, *, accept: str | None = None
) -> ImportedTeacher:
    """The teacher with what it scores here. Raises BadInput where that is not what was declared (unless there is a
    reason to `accept` it), EnvironmentRefused where its weights or the images are missing."""
    images = open_dataset(teacher.dataset, data)
    state = imported_weights(home, teacher.weights_sha256, teacher.model)
    test = images.split("test")
    measured = measure(state, teacher.model, images, test)
    if not accept:
        _compare(teacher.name, teacher.declared_top1, measured, state, teacher.model, images, test)
    return _enter(store, teacher, measured, images, accept)


def measure(
    state: Mapping[str, Tensor],
    model: str,
    dataset: Dataset,
    test: Split,
    normalization: Normalization | None = None,
) -> float:
    """Top-1 accuracy (%) of the weights on the test images, in float32 on the first GPU or the CPU."""
    device = torch.device("cuda:0" if gpu_count() else "cpu")
    set_products("fp32", device)
    network = MODELS.get(model).build(dataset.num_classes, dataset.image_shape)
    network.load_state_dict(dict(state), strict=True)
    network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    chosen = normalization or dataset.normalization
    return evaluate(lambda images: network(images).logits, test, chosen, device=device).top1


def _enter(
    store: Store, teacher: ImportedTeacher, measured: float, images: Dataset, accept: str | None
) -> ImportedTeacher:
    """Keep what was measured; a reason only where one was needed."""
    apart = teacher.declared_top1 is not None and abs(measured - teacher.declared_top1) > TOLERANCE
    return store.verified(
        teacher.name, measured_top1=measured, fingerprint=images.fingerprint, accepted=accept if apart else None
    )


def _test_split(dataset: Dataset) -> Split | None:
    """The test images; None where they are not here."""
    try:
        return dataset.split("test")
    except EnvironmentRefused:
        return None


def _compare(
    name: str,
    declared: float | None,
    measured: float,
    state: Mapping[str, Tensor],
    model: str,
    dataset: Dataset,
    test: Split,
) -> None:
    """Raise BadInput, with the likely cause, where the accuracy is not the declared one."""
    if declared is None or abs(measured - declared) <= TOLERANCE:
        return
    raise BadInput(
        f"{name} scores {measured:.2f} % on the test split of {dataset.name}, declared are {declared:.2f} % "
        f"({abs(measured - declared):.2f} points apart, {TOLERANCE} are allowed)",
        remedy=f"{_cause(declared, measured, state, model, dataset, test)}\n"
        "To use it all the same: --accept-mismatch REASON",
    )


def _cause(
    declared: float, measured: float, state: Mapping[str, Tensor], model: str, dataset: Dataset, test: Split
) -> str:
    """The likeliest reason: other normalisations are tried, the rest is told by how far the numbers are apart."""
    first = torch.arange(len(test.labels)) < _TRIED_IMAGES
    part = Split(test.images[first], test.labels[first], test.index[first])
    own = measure(state, model, dataset, part)
    scores = {
        how: measure(state, model, dataset, part, normalization)
        for how, normalization in _OTHER_NORMALIZATIONS.items()
        if normalization != dataset.normalization
    }
    best = max(scores, key=lambda how: scores[how])
    if measured < declared and scores[best] > own + 0.5 * (declared - measured):
        return (
            f"It was trained with another normalisation: fed with {best} it scores {scores[best]:.2f} % "
            f"where this dataset's gives {own:.2f} % (first {len(part.labels):,} images)."
        )
    if measured < 200 / dataset.num_classes:
        return "It does little better than guess: other classes or another order of them, or weights never trained."
    if abs(measured - declared) < 3:
        return (
            "So near, it is likely the best epoch declared and the last one here (or the reverse), another training of "
            "the same network, or slightly other preprocessing."
        )
    return "Likely other preprocessing, other training data, or another network with the same keys."


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
    files = sorted(path for path in folder.iterdir() if path.is_file())
    numbered = {int(match[1]): path for path in files if (match := re.fullmatch(r"ckpt_epoch_(\d+)\..*", path.name))}
    if numbered:
        return numbered[max(numbered)]
    files = [path for path in files if path.stem.endswith("_last")] or files
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "no file"
        raise BadInput(f"which checkpoint is it? There is {names}", where=str(folder), remedy="import the file itself")
    return files[0]
