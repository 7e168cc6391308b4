"""A study's methods that are not ours, tried on noise before anything is trained for them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from kdharness.core.errors import BadInput, KdHarnessError
from kdharness.core.plugins import place_in_plugin
from kdharness.core.records import Setting
from kdharness.core.types import Dataset, Distiller
from kdharness.distillers import sums
from kdharness.study.expand import Expansion
from kdharness.study.searching.finals import paper_runs

MOST = 16
"""Sets of constants of one method that are tried: each takes networks of its own."""


def refuse_broken_methods(settings: Iterable[Setting], dataset: Dataset, file: str) -> None:
    """One step of each such method with each set of its constants, by untrained networks of the first pair there is.

    The settings are of the study named `file`. Raises BadInput with the line of the plug-in where one fails, where
    losses and weights have other terms, and for a loss that is not finite; the method's own refusal of a pair as it is.
    """
    asked: dict[str, dict[str, Setting]] = {}
    for setting in settings:
        asked.setdefault(setting.distiller, {}).setdefault(json.dumps(setting.constants, sort_keys=True), setting)
    for name, found in asked.items():
        method = sums.method(name)
        for setting in islice(found.values(), MOST) if sums.is_own(method) else ():
            if setting.recipe.teacher_image_size in (None, setting.recipe.image_size):
                _refuse_broken(method, setting, dataset, file)


def first_settings(expansion: Expansion) -> Iterator[Setting]:
    """Of a study's rows; where a search has still to choose, with what stands in the method or its preset."""
    yield from (want.setting for want in expansion.wanted)
    for row in expansion.searched:
        yield from (want.setting for want in paper_runs(expansion, row.templates, row.chosen))


def _refuse_broken(method: type[Distiller], setting: Setting, dataset: Dataset, file: str) -> None:
    said, where = "", ""
    try:
        said = _first_step(method, setting, dataset)
    except KdHarnessError:
        raise
    except Exception as error:  # noqa: BLE001  an outsider's method may raise anything; it is told, not ours
        said, where = f"{type(error).__name__}: {error}", place_in_plugin(error)
    if said:
        constants = ", ".join(f"{name}={value}" for name, value in setting.constants.items())
        raise BadInput(
            f"{setting.distiller} cannot be trained with {constants or 'no constants'}: {said}",
            where=where or file,
            remedy=f"`kdharness --plugin {method.__module__} try {setting.distiller}` says more",
        )


def _first_step(method: type[Distiller], setting: Setting, dataset: Dataset) -> str:
    """What is wrong, or nothing."""
    import torch

    from kdharness.testing.bench import Bench

    channels, height, width = dataset.image_shape
    size = setting.recipe.image_size
    bench = Bench.make(
        method,
        method.Config.model_validate(dict(setting.constants)),
        rows=4,
        dtype=torch.float32,
        student=setting.student,
        teacher=setting.teachers[0].model if setting.teachers else setting.student,
        num_classes=dataset.num_classes,
        image_shape=(channels, size or height, size or width),
    )
    losses, weights = bench.losses(*bench.outputs()), bench.distiller.weights(1)
    return _unequal(losses, weights) or next(
        (f"its loss {term} is {value.tolist()}" for term, value in losses.items() if not value.isfinite().all()), ""
    )


def _unequal(losses: Mapping[str, object], weights: Mapping[str, float]) -> str:
    if losses.keys() == weights.keys():
        return ""
    return f"it returns the losses {', '.join(sorted(losses))}, but weights for {', '.join(sorted(weights))}"
