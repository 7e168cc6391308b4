"""A finished run's networks as they stood at its end, rebuilt from the kept weights."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.home import Home
from kdharness.core.records import Execution, RunKey, Setting
from kdharness.core.types import Dataset, Distiller, Outputs, Split
from kdharness.datasets import opening
from kdharness.evaluation.accuracy import tiles
from kdharness.evaluation.cost import measure
from kdharness.evaluation.gradients import ROWS, gradients
from kdharness.evaluation.judged import Found, Judged, judge
from kdharness.evaluation.transfer import linear_probe
from kdharness.models.listing import model_size
from kdharness.results.store import Store
from kdharness.runtime.inputs import open_dataset, teacher_weights, trained_weights
from kdharness.training.course import training_run
from kdharness.training.data import Data, Point
from kdharness.training.frozen import frozen_forward
from kdharness.training.inputs import dtype_of, forward, set_products, shrunk
from kdharness.training.members import Member
from kdharness.training.resampling import resized
from kdharness.training.sharing import Teachers


class Shelf:
    """Opened datasets and loaded teachers, each once for all runs that need it."""

    def __init__(self, home: Home, store: Store, data: Path, execution: Execution) -> None:
        self.home, self.store, self.path, self.execution = home, store, data, execution
        self._opened: dict[tuple[str, str], tuple[Data, Teachers]] = {}

    def opened(self, setting: Setting) -> tuple[Data, Teachers]:
        """Raises EnvironmentRefused where the images are not those of the setting."""
        key = (setting.dataset, setting.fingerprint)
        if key not in self._opened:
            data = Data(open_dataset(self.path, setting), self.execution)
            self._opened[key] = data, Teachers(data)
        return self._opened[key]

    def dataset(self, name: str) -> Dataset:
        """Any dataset, to transfer to."""
        return opening.open_dataset(name, self.path)


class Trained:
    """The student of a finished run with its teacher, in eval mode."""

    def __init__(self, shelf: Shelf, run_id: str) -> None:
        """Raises EnvironmentRefused where weights are gone or damaged."""
        self._shelf = shelf
        self.setting, seed = shelf.store.setting(run_id)
        weights, _ = trained_weights(shelf.home, shelf.store, RunKey(setting_key=self.setting.key, seed=seed))
        self._data, teachers = shelf.opened(self.setting)
        taught_by, _ = teacher_weights(shelf.home, shelf.store, self.setting)
        if self.setting.control == "untrained":
            taught_by = ()
        self._seed = seed
        self._run = training_run(Member(run_id, self.setting, seed, taught_by), self._data, teachers)
        self._alone = type(self._run.distiller).predict is Distiller.predict
        self._run.student.load_state_dict(dict(weights))
        self._run.begin(len(self._run.phases), self.setting.recipe.epochs)
        self._run.eval_mode()

    @property
    def split(self) -> Split:
        """The images by which the run was judged."""
        return self._data.evaluation(self.setting.validation, self.setting.recipe.image_size)

    def judged(self) -> Judged:
        """What student and teacher say to them. Raises BadInput where the kept weights are not all it was judged by."""
        if not self._alone and self._run.adapters.state_dict():
            raise BadInput(
                f"{self.setting.distiller} judges its student together with what it trained beside it, which is not "
                "kept"
            )
        taught = self._run.teacher is not None
        recipe = self.setting.recipe
        return judge(
            self._student,
            self._teacher if taught else None,
            self.split,
            self._data.normalization(recipe.normalization),
            device=self._data.device,
            dtype=dtype_of(recipe.precision),
            layout=self._data.layout,
        )

    def gradients(self) -> Found:
        """See evaluation.gradients."""
        recipe, split = self.setting.recipe, self.split
        set_products(recipe.precision, self._data.device)
        return gradients(
            self._run.student,
            lambda images: forward(self._run.student, images, recipe.precision).logits,
            self._tiles(split, ROWS),
            split.labels,
        )

    def transfer(self, to: str) -> Found:
        """A linear probe on another dataset, whose images are brought to the student's size and fed as its own were.

        Raises BadInput for images of other channels, and for those that are read from disk while they are used.
        """
        other = self._shelf.dataset(to)
        train, test = other.split("train"), other.split("test")
        features = [self._features(other, part) for part in (train, test)]
        return Found({"transfer_top1": linear_probe(features[0], train.labels, features[1], test.labels)})

    def cost(self) -> Found:
        """What a training step and the forward of a batch cost here. The step trains on: this is the student's end.

        A step has the batch ready and asks the teacher anew (a run may find its answers in a table, which costs less).
        Adapters, and a peer that learns beside the student, count as extra parameters; the multiply-adds are of one
        image through the student alone.
        """
        run, data, recipe = self._run, self._data, self.setting.recipe
        point = Point.of(self.setting, self._seed, 1, 0)
        inputs = data.inputs(point)
        if run.needs.views == 2:
            inputs = replace(inputs, second_view=data.images(point.second(recipe)))
        beside = [*run.adapters.parameters(), *(run.peer.parameters() if run.peer is not None else ())]
        with torch.no_grad():
            once = measure(lambda: self._student(inputs.images), data.device)
        run.train_mode()
        step = measure(lambda: run.step(inputs, None, 0, 0), data.device)
        device = _slug(data.device)
        metrics = {
            f"step_ms_{device}": step.milliseconds,
            f"batch_ms_{device}": once.milliseconds,
            "extra_parameters": float(sum(each.numel() for each in beside if each.requires_grad)),
            "multiply_adds": float(
                model_size(
                    self.setting.student, data.dataset.num_classes, data.image_shape(recipe.image_size)
                ).multiply_adds
            ),
        }
        if step.memory_mib is not None and once.memory_mib is not None:
            metrics |= {f"step_memory_mib_{device}": step.memory_mib, f"batch_memory_mib_{device}": once.memory_mib}
        return Found(metrics)

    def _student(self, images: Tensor) -> Outputs:
        set_products(self.setting.recipe.precision, self._data.device)
        said = forward(self._run.student, images, self.setting.recipe.precision)
        return said if self._alone else Outputs(self._run.predict(images), said.pooled)

    def _teacher(self, images: Tensor) -> Outputs:
        assert self._run.teacher is not None
        recipe = self.setting.recipe
        return frozen_forward(self._run.teacher, shrunk(images, recipe.teacher_image_size), recipe.precision)

    def _tiles(self, split: Split, rows: int) -> Iterator[Tensor]:
        recipe = self.setting.recipe
        return tiles(
            split,
            self._data.normalization(recipe.normalization),
            device=self._data.device,
            dtype=dtype_of(recipe.precision),
            layout=self._data.layout,
            rows=rows,
        )

    def _features(self, dataset: Dataset, split: Split) -> Tensor:
        channels, size, _ = self._data.image_shape(self.setting.recipe.image_size)
        images = split.images
        if not isinstance(images, Tensor):
            raise BadInput(f"the images of {dataset.name} are too many for a linear probe: it holds all features")
        if images.shape[1] != channels:
            raise BadInput(
                f"the images of {dataset.name} have {images.shape[1]} channels, the student takes {channels}"
            )
        brought = replace(split, images=resized(images.permute(0, 2, 3, 1), size).permute(0, 3, 1, 2))
        with torch.no_grad():
            return torch.cat([self._student(batch).pooled.cpu() for batch in self._tiles(brought, ROWS)])


def _slug(device: torch.device) -> str:
    """`cpu`, `nvidia_h100_80gb_hbm3`: by what a cost is named."""
    if device.type == "cpu":
        return "cpu"
    name = torch.cuda.get_device_name(device).lower()
    return "_".join("".join(letter if letter.isalnum() else " " for letter in name).split())


def agrees(trained_top1: float | None, measured_top1: float, images: int) -> None:
    """Raise EnvironmentRefused where the kept weights do not give the accuracy that the run ended with.

    Another device or library may turn a few answers over: one in two hundred is allowed.
    """
    if trained_top1 is not None and abs(trained_top1 - measured_top1) > max(0.5, 200 / images):
        raise EnvironmentRefused(
            f"the kept student scores {measured_top1:.2f} %, at the end of its training it scored {trained_top1:.2f} %",
            remedy="Its weights, or the images, are not those of the run: nothing was stored.",
        )
