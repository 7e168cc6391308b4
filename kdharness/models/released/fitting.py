"""A foreign state_dict fitted to a network of the zoo: every key and shape must be the network's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from kdharness.core.errors import BadInput, KdHarnessError
from kdharness.core.types import Dataset, Model
from kdharness.models.registry import MODELS

PREFIXES = ("", "module.", "module.student.", "student.")
"""What wrappers put in front of a network's keys: DataParallel, and mdistiller's distillers inside it."""
TEACHERS = ("module.teacher.", "teacher.")
"""What may stand beside a student's keys in the same file."""
COUNTER = "num_batches_tracked"
KINDS = ("of another shape", "of another number format", "missing", "unexpected")
SHOWN = 10
"""Rows of the table of differences."""


@dataclass(frozen=True)
class Fitted:
    """Weights with a network's own keys, in its order."""

    weights: dict[str, Tensor]
    prefix: str
    """What was taken off the file's keys."""
    counters: int
    """Batch-norm counters that the file lacks (PyTorch 0.4.0 had none) and that stand at 0."""
    left_out: int
    """Keys of a teacher in the same file."""


@dataclass(frozen=True)
class _Difference:
    """One row: None stands for a missing tensor."""

    key: str
    expected: Tensor | None
    found: Tensor | None

    @property
    def kind(self) -> str:
        if self.expected is None or self.found is None:
            return "missing" if self.found is None else "unexpected"
        return "of another shape" if self.expected.shape != self.found.shape else "of another number format"


def fit(weights: Mapping[str, Tensor], model: str, dataset: Dataset, *, where: str) -> Fitted:
    """The weights for `model` as it is built for `dataset`. Raises BadInput with a table of what differs."""
    network = MODELS.get(model).build(dataset.num_classes, dataset.image_shape)
    expected = network.state_dict()
    attempts = [found for prefix in PREFIXES if (found := _taken(weights, prefix)) is not None]
    for prefix, taken in attempts:
        if not _differences(expected, taken):
            fitted = _in_order(expected, taken, where)
            counters = sum(key not in taken for key in expected)
            return Fitted(fitted, prefix, counters, len(weights) - len(taken))
    # the most telling comparison is the one in which the most keys are the network's
    _, taken = max(attempts, key=lambda one: sum(key in expected for key in one[1]))
    differences = _differences(expected, taken)
    cause = _cause(network, model, dataset, taken, differences)
    raise BadInput(
        f"these are not the weights of {model} for {dataset.name}:\n{_table(differences)}", where=where, remedy=cause
    )


def _taken(weights: Mapping[str, Tensor], prefix: str) -> tuple[str, dict[str, Tensor]] | None:
    """The weights behind `prefix`; None where other keys stand beside them that are not a teacher's."""
    taken = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    rest = [key for key in weights if not key.startswith(prefix)]
    alone = not rest or ("student." in prefix and all(key.startswith(TEACHERS) for key in rest))
    return (prefix, taken) if taken and alone else None


@cache
def _skeleton(model: str, num_classes: int, image_shape: tuple[int, int, int]) -> Model:
    """The network without memory for its weights, only to be read; slower than memory where it is one alone."""
    with torch.device("meta"):
        return MODELS.get(model).build(num_classes, image_shape)


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[_Difference]:
    """What keeps `found` from being loaded, in the network's order; a missing counter of a batch norm does not."""
    rows = []
    for key, value in expected.items():
        if key in found:
            if found[key].shape != value.shape or found[key].is_floating_point() != value.is_floating_point():
                rows.append(_Difference(key, value, found[key]))
        elif not key.endswith(COUNTER):
            rows.append(_Difference(key, value, None))
    rows += [_Difference(key, None, value) for key, value in found.items() if key not in expected]
    return rows


def _in_order(expected: Mapping[str, Tensor], taken: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The weights in the network's order and number formats."""
    fitted = {}
    for key, value in expected.items():
        fitted[key] = taken[key].to(value.dtype) if key in taken else torch.zeros(value.shape, dtype=value.dtype)
        if not fitted[key].isfinite().all():
            raise BadInput(f"{key} is too large for {str(value.dtype).removeprefix('torch.')}", where=where)
    return fitted


def _table(differences: list[_Difference]) -> str:
    """Some rows of each kind, and how many there are."""
    kinds: dict[str, list[_Difference]] = {kind: [] for kind in KINDS}
    for row in differences:
        kinds[row.kind].append(row)
    # in turn from each kind, so that none hides the others
    turns = sorted((number, kind) for kind, rows in kinds.items() for number in range(len(rows)))[:SHOWN]
    chosen = [row for kind, rows in kinds.items() for row in rows[: sum(one == kind for _, one in turns)]]
    texts = [("key", "expected", "found")]
    texts += [(row.key, _described(row.expected, row.kind), _described(row.found, row.kind)) for row in chosen]
    widths = [max(len(text[column]) for text in texts) for column in range(3)]
    lines = ["  " + "  ".join(one.ljust(width) for one, width in zip(text, widths, strict=True)) for text in texts]
    if len(differences) > SHOWN:
        lines.append(f"  ... and {len(differences) - SHOWN} more")
    counts = ", ".join(f"{len(rows)} {kind}" for kind, rows in kinds.items() if rows)
    return "\n".join([*(line.rstrip() for line in lines), f"  {counts}"])


def _described(tensor: Tensor | None, kind: str) -> str:
    if tensor is None:
        return "-"
    shape = "×".join(map(str, tensor.shape)) or "scalar"
    return f"{shape} {str(tensor.dtype).removeprefix('torch.')}" if kind == KINDS[1] else shape


def _cause(
    network: Model, model: str, dataset: Dataset, taken: Mapping[str, Tensor], differences: list[_Difference]
) -> str:
    """The likeliest reason for the differences, and what to do."""
    if all(row.kind == KINDS[1] for row in differences):
        return "The keys and shapes are the network's: was it quantised? Import the weights from before that."
    head = _head(network)
    if {row.key for row in differences} <= {f"{head}.weight", f"{head}.bias"}:
        return _of_classes(taken[f"{head}.weight"], dataset) if f"{head}.weight" in taken else "Its head is missing."
    others, heads = [], []
    for name in MODELS:
        if name == model:
            continue
        try:
            other = _skeleton(name, dataset.num_classes, dataset.image_shape)
        except (KdHarnessError, RuntimeError, ValueError):  # not made for images of this size
            continue
        wrong = {row.key for row in _differences(other.state_dict(), taken)}
        if not wrong:
            others.append(name)
        elif wrong <= {f"{_head(other)}.weight", f"{_head(other)}.bias"} and f"{_head(other)}.weight" in taken:
            heads.append((name, _of_classes(taken[f"{_head(other)}.weight"], dataset)))
    if others:
        return f"They fit {' and '.join(others)} exactly: --model {others[0]}"
    if heads:
        return f"They fit {heads[0][0]} but for the head. {heads[0][1]}"
    if not any(key in network.state_dict() for key in taken):
        return "Not one key is the network's: was it made by other code, or of another kind of network?"
    return "They fit no network of the zoo: was it trained by code that changes the network?"


def _of_classes(weight: Tensor, dataset: Dataset) -> str:
    classes = weight.shape[0] if weight.ndim else 0
    if classes == dataset.num_classes:
        return f"Its head takes features of shape {tuple(weight.shape[1:])}."
    return f"Its head has {classes} classes, {dataset.name} has {dataset.num_classes}: was it trained on other data?"


def _head(network: Model) -> str:
    """The name of the classifier in the network's keys."""
    return next(name for name, module in network.named_modules() if module is network.classifier)
