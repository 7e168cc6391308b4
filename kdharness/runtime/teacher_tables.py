"""A teacher's logits for every view of every training image, computed before anybody asks for them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.home import Home
from kdharness.core.records import Execution, Teacher
from kdharness.core.types import Needs
from kdharness.datasets.opening import open_dataset
from kdharness.models.registry import MODELS
from kdharness.results.store import Store
from kdharness.runtime.inputs import imported_weights, trained_weights
from kdharness.runtime.slots import choose_slots, device_of
from kdharness.training.augmentation import AUGMENTATIONS
from kdharness.training.cuda_graphs import recorder_of
from kdharness.training.data import Data, Point
from kdharness.training.logit_table import TILE
from kdharness.training.recipes import load_recipe
from kdharness.training.sharing import Teachers
from kdharness.training.table_shelf import ENVIRONMENT, FREE_BYTES, limit_bytes


def fill_table(
    home: Home,
    store: Store,
    name: str,
    *,
    data: Path,
    dataset: str | None = None,
    recipe: str | None = None,
    augment: str | None = None,
    pooled: bool = False,
    execution: Execution | None = None,
) -> Iterator[tuple[int, int]]:
    """Fill the table of a teacher, imported (by its name) or trained (by its run): how many entries are there, of all.

    For runs of that recipe (the dataset's own where none is named), or of that augmentation instead of its own.
    Stopped, it goes on where it was. Raises BadInput for what has no table, EnvironmentRefused where none can be kept.
    """
    model, state, own = _teacher(home, store, name)
    images = open_dataset(dataset or own, data)
    entry = MODELS.get(model)
    like = load_recipe(recipe or images.recipe).resolve(model, entry.family)
    augment = augment or like.augment
    finite = [known for known in AUGMENTATIONS if AUGMENTATIONS[known].is_finite]
    if images.streamed:
        raise BadInput(f"the images of {images.name} are decoded when they are wanted: no table holds their views")
    if augment not in finite:
        raise BadInput(
            f"augmentation {augment!r} is not one that makes finitely many views of an image",
            remedy=f"name one of {', '.join(finite)}",
        )
    execution = execution or Execution(device=device_of(choose_slots("1")[0]))
    torch.set_num_threads(execution.threads)
    views = Data(images, execution.model_copy(update={"tables": home.tables}))
    teachers = Teachers(views, recorder_of(views.device) if execution.graphs else None)
    size = like.teacher_image_size or like.image_size
    network = teachers.get((Teacher(model=model, revision=entry.revision),), [state], like.precision, size)
    tabled = teachers.tabled(network, Needs(teacher_pooled=pooled), like.teacher_image_size)
    point = Point(0.0, augment, like.precision, TILE, 0, 1, 0, like.image_size, like.normalization)
    done = every = 0
    for done, every in tabled.fill(point) if tabled is not None else ():
        yield done, every
    if not every:
        raise EnvironmentRefused(
            f"{name} has no table here: tables are switched off, the disk refuses them, or what this network says to "
            "an image depends in its last bits on the images beside it",
            where=str(home.tables),
        )
    if done < every:
        raise EnvironmentRefused(
            f"{done} of {every} entries are there, for more there is no room: tables may take "
            f"{limit_bytes() / 10**9:g} GB, and leave {FREE_BYTES / 2**30:g} GiB of the disk free",
            where=str(home.tables),
            remedy=f"free some space, or set {ENVIRONMENT}; the same command goes on",
        )


def _teacher(home: Home, store: Store, name: str) -> tuple[str, Mapping[str, Tensor], str]:
    """Network, weights and dataset. Raises BadInput for a name that nobody has, or a run that is not finished."""
    for teacher in store.imported_teachers():
        if teacher.name == name:
            return teacher.model, imported_weights(home, teacher.weights_sha256, teacher.model), teacher.dataset
    setting, seed = store.setting(store.find_run(name))
    state, _ = trained_weights(home, store, setting.run(seed))
    return setting.student, state, setting.dataset
