"""Whether a distiller can work on a pair at all: its adapters are built once, before anything is trained."""

from typing import TYPE_CHECKING

from kdharness.core.errors import BadInput, IncompatiblePair, Problem
from kdharness.study.images import missing_images
from kdharness.study.load import Study
from kdharness.study.resolve import Pair, Resolved, Template, constants_of, distiller_of, model_of, value_of
from kdharness.study.students import links

if TYPE_CHECKING:
    from kdharness.core.types import Dataset, Model, Needs

FEW_IMAGES = 1000
"""Training images that adapters are tried with: memories grow with their number, whether a pair works does not."""


class Compatibility:
    """Tries the rows of one study on their pairs and gathers what cannot work."""

    def __init__(self, study: Study, dataset: "Dataset") -> None:
        self._study = study
        self._dataset = dataset
        self._models: dict[tuple[str, int | None], Model] = {}
        self._tried: set[tuple[object, ...]] = set()
        self.problems: list[Problem] = []

    def check(self, one: Template, resolved: Resolved) -> None:
        """Build the adapters of the row for its pair, unless a row with the same choices was tried; opens no data."""
        if missing_images(self._dataset):
            return  # its shapes are only a guess
        if self._dataset.streamed:
            self._check_streaming(one, resolved)
        # a number (a weight, a temperature) never decides whether a pair works: names of layers and forms do
        values = [value_of(resolved, name) for name in constants_of(type(resolved.config))]
        choices = tuple(value for value in values if isinstance(value, str | bool))
        for link in links(self._study, one):
            key = (one.row.place, link, choices)
            if key in self._tried:
                continue
            self._tried.add(key)
            try:
                self._build(one, link, resolved)
            except BadInput as error:  # an IncompatiblePair, or images that a network cannot be built for
                self._say(one, str(error), link)

    def _check_streaming(self, one: Template, resolved: Resolved) -> None:
        """What is done to images in memory cannot be done to those that are decoded when they are wanted."""
        from kdharness.training.recipes import STREAMED_AUGMENTS

        recipe, dataset = resolved.recipe, self._dataset
        for name in (recipe.augment, recipe.second_view):
            if name is not None and name not in STREAMED_AUGMENTS:
                known = ", ".join(STREAMED_AUGMENTS)
                self._say(one, f"augmentation {name!r} is for images in memory; for {dataset.name} there are {known}")
        if recipe.image_size not in (None, dataset.image_shape[1]):
            self._say(one, f"image_size {recipe.image_size}: {dataset.name} is decoded at {dataset.image_shape[1]}")

    def _say(self, one: Template, what: str, pair: Pair | None = None) -> None:
        line, column = self._study.document.at(one.row.place)
        message = " ".join(f"{one.label}, {(pair or one.pair).label}: {what}".split())
        problem = Problem(line, column, message)
        if problem not in self.problems:
            self.problems.append(problem)

    def _build(self, one: Template, link: Pair, resolved: Resolved) -> None:
        import torch

        from kdharness.core.streams import seeded
        from kdharness.core.types import BuildContext
        from kdharness.training.view import View

        distiller = distiller_of(one.row)(resolved.config)
        needs, recipe = distiller.needs, resolved.recipe
        images = min(self._dataset.train_size, FEW_IMAGES)
        context = BuildContext(
            num_classes=self._dataset.num_classes,
            train_size=images,
            image_shape=self._shape(recipe.image_size),
            train_labels=torch.zeros(images, dtype=torch.int64) if needs.train_labels else None,
        )
        with seeded("compatibility"):
            student = self._model(link.student, recipe.image_size)
            seen = recipe.teacher_image_size or recipe.image_size
            teacher = student if needs.teacher == "none" else self._teacher(link, needs, seen)
            distiller.build(View(student, needs.tails), View(teacher, needs.tails), context)

    def _teacher(self, link: Pair, needs: "Needs", image_size: int | None) -> "Model":
        """Raises IncompatiblePair for an ensemble that has to have layers, a tail or a peer."""
        from kdharness.models.ensemble import Ensemble

        networks = [self._model(model, image_size) for model in link.teachers]
        if len(networks) == 1:
            return networks[0]
        if needs.teacher == "architecture" or needs.teacher_stages or needs.tails:
            raise IncompatiblePair("an ensemble of teachers has logits only, no layers of its own")
        return Ensemble(networks)

    def _model(self, name: str, image_size: int | None) -> "Model":
        key = (name, image_size)
        if key not in self._models:
            self._models[key] = model_of(name).build(self._dataset.num_classes, self._shape(image_size))
        return self._models[key]

    def _shape(self, image_size: int | None) -> tuple[int, int, int]:
        shape = self._dataset.image_shape
        return shape if image_size is None else (shape[0], image_size, image_size)
