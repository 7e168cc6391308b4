"""What a run will take before it is trained: seconds, by finished runs of its kind or a rough model, and disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from kdharness.core.records import Setting, WantedRun
from kdharness.results.store import Store

if TYPE_CHECKING:
    from kdharness.core.types import Dataset

# A CPU core does small convolutions at about 40 billion multiply-adds a second, a data centre GPU at about 10,000
# billion; a step costs a few milliseconds of Python and launches besides.
_CORE, _CORE_STEP = 40e9, 0.002
_GPU, _GPU_STEP = 10e12, 0.006
_BACKWARD = 3
"""A forward and a backward pass, in forward passes."""
_START_SECONDS = 4.0
"""A process, its imports and its data."""

Kind = tuple[str, str, str | None]
"""Dataset, student, teacher."""


@dataclass(frozen=True)
class Known:
    """What the results database says of earlier runs."""

    complete: frozenset[str] = frozenset()
    """Ids of the runs that are finished, whichever study asked for them."""
    epoch_seconds: Mapping[Kind, float] = field(default_factory=dict)
    """Mean over finished runs, with evaluation and everything else; runs of one job divide its time."""
    measured: int = 0


def known(store: Store | None) -> Known:
    """Read from the store what is finished and how long an epoch took."""
    if store is None:
        return Known()
    _, found = store.query(
        "SELECT run_id, dataset, student, teacher, epochs, (finished_ms - started_ms) / coalesce(members, 1) "
        "FROM runs JOIN settings USING (setting_key) LEFT JOIN (SELECT run_id, outcome AS ended, "
        "count(*) OVER (PARTITION BY owner_nonce) AS members FROM attempts) USING (run_id) "
        "WHERE state = 'complete' AND coalesce(ended, 'complete') = 'complete'"
    )
    sums: dict[Kind, tuple[float, int]] = {}
    for _, dataset, student, teacher, epochs, milliseconds in found:
        if milliseconds is not None and epochs:
            seconds, number = sums.get((dataset, student, teacher), (0.0, 0))
            sums[dataset, student, teacher] = seconds + milliseconds / 1000 / epochs, number + 1
    means = {kind: seconds / number for kind, (seconds, number) in sums.items()}
    return Known(frozenset(row[0] for row in found), means, sum(number for _, number in sums.values()))


@cache
def size(model: str, num_classes: int, image_shape: tuple[int, int, int]) -> tuple[float, int]:
    """Multiply-adds of one image and the number of parameters.

    One image is computed: on the meta device torch would import its compiler for the shapes alone, which takes longer.
    """
    import torch
    from torch import nn

    from kdharness.models.registry import MODELS

    with torch.random.fork_rng(devices=()):
        network = MODELS.get(model).build(num_classes, image_shape).eval()
    adds = 0.0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal adds
        if isinstance(module, nn.Conv2d):
            adds += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            adds += output.numel() * module.in_features

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, *image_shape))
    return adds, sum(parameter.numel() for parameter in network.parameters())


def run_seconds(run: WantedRun, dataset: "Dataset", known: Known) -> float:
    """Seconds of one run alone on its slot."""
    setting = run.setting
    teacher = setting.teachers[0].model if setting.teachers else None
    measured = known.epoch_seconds.get((setting.dataset, setting.student, teacher))
    if measured is not None:
        return measured * setting.recipe.epochs
    return _START_SECONDS + setting.recipe.epochs * _epoch_seconds(setting, dataset)


def _epoch_seconds(setting: Setting, dataset: "Dataset") -> float:
    speed, step = _device()
    images = dataset.train_size * (1 - setting.validation)
    recipe, classes = setting.recipe, dataset.num_classes
    student = size(setting.student, classes, _shape(dataset, recipe.image_size))[0]
    seen = _shape(dataset, recipe.teacher_image_size or recipe.image_size)
    teachers = sum(size(one.model, classes, seen)[0] for one in setting.teachers)
    training = images * (_BACKWARD * student + teachers) / speed + images / recipe.batch_size * step
    return training + dataset.test_size * student / speed


def _device() -> tuple[float, float]:
    import torch

    return (_GPU, _GPU_STEP) if torch.cuda.is_available() else (_CORE, _CORE_STEP)


def student_cost(setting: Setting, dataset: "Dataset") -> float:
    """Multiply-adds of the student's forward passes over one training image, in all epochs: what a search can weigh
    accuracy against. It moves with the recipe's `epochs` and `image_size`; the pair itself stands fast."""
    shape = _shape(dataset, setting.recipe.image_size)
    return size(setting.student, dataset.num_classes, shape)[0] * setting.recipe.epochs


def kept_mib(run: WantedRun, dataset: "Dataset") -> float:
    """MiB that stay of a finished run: the student's weights, a prediction and a confidence for each test image."""
    return (4 * _parameters(run, dataset) + 10 * dataset.test_size) / 2**20


def working_mib(run: WantedRun, dataset: "Dataset") -> float:
    """MiB while it trains: two checkpoints of weights and momentum."""
    return 2 * 2 * 4 * _parameters(run, dataset) / 2**20


def _parameters(run: WantedRun, dataset: "Dataset") -> int:
    return size(run.setting.student, dataset.num_classes, _shape(dataset, run.setting.recipe.image_size))[1]


def _shape(dataset: "Dataset", image_size: int | None) -> tuple[int, int, int]:
    """Of the images that a network is built for."""
    return dataset.image_shape if image_size is None else (dataset.image_shape[0], image_size, image_size)
