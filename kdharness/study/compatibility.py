"""Whether a distiller can work on a pair at all: its adapters are built once, before anything is trained."""

from typing import TYPE_CHECKING

from kdharness.core.errors import IncompatiblePair, Problem
from kdharness.study.images import missing_images
from kdharness.study.load import Study
from kdharness.study.resolve import Resolved, Template, distiller_of, model_of

if TYPE_CHECKING:
    from kdharness.core.types import Dataset, Model


class Compatibility:
    """Tries the rows of one study on their pairs and gathers what cannot work."""

    def __init__(self, study: Study, dataset: "Dataset") -> None:
        self._study = study
        self._dataset = dataset
        self._models: dict[str, Model] = {}
        self._tried: set[tuple[object, ...]] = set()
        self.problems: list[Problem] = []

    def check(self, one: Template, resolved: Resolved) -> None:
        """Build the adapters of the row for its pair, unless a row with the same choices was tried; opens no data."""
        if missing_images(self._dataset):
            return  # its shapes are only a guess
        # a number (a weight, a temperature) never decides whether a pair works: names of layers and forms do
        choices = tuple(value for value in vars(resolved.config).values() if isinstance(value, str | bool))
        key = (one.row.place, one.pair, choices)
        if key in self._tried:
            return
        self._tried.add(key)
        try:
            self._build(one, resolved)
        except IncompatiblePair as error:
            line, column = self._study.document.at(one.row.place)
            self.problems.append(Problem(line, column, " ".join(f"{one.label}, {one.pair.label}: {error}".split())))

    def _build(self, one: Template, resolved: Resolved) -> None:
        import torch

        from kdharness.core.streams import seeded
        from kdharness.core.types import BuildContext
        from kdharness.training.view import View

        distiller = distiller_of(one.row)(resolved.config)
        needs = distiller.needs
        context = BuildContext(
            num_classes=self._dataset.num_classes,
            train_size=self._dataset.train_size,
            image_shape=self._dataset.image_shape,
            train_labels=torch.zeros(self._dataset.train_size, dtype=torch.int64) if needs.train_labels else None,
        )
        with seeded("compatibility"):
            student = self._model(one.pair.student)
            teacher = student if needs.teacher == "none" else self._model(one.pair.teacher)
            distiller.build(View(student, needs.tails), View(teacher, needs.tails), context)

    def _model(self, name: str) -> "Model":
        if name not in self._models:
            self._models[name] = model_of(name).build(self._dataset.num_classes, self._dataset.image_shape)
        return self._models[name]
