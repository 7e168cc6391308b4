"""Who teaches a pair: a run that the plan trains, weights that were imported, or ones that are not here yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kdharness.core.keys import canonical
from kdharness.core.plugins import revision_of
from kdharness.core.records import MISSING, Recipe, Setting, Teacher, WantedRun
from kdharness.results.records import ImportedTeacher
from kdharness.study.resolve import RECIPE, Pair, known_model, model_of, recipe_of
from kdharness.study.spec import StudySpec

if TYPE_CHECKING:
    from kdharness.core.types import Dataset

TEACHER = "teacher"
"""The label of the runs that make teachers."""


@dataclass(frozen=True)
class TeacherSource:
    """Where the weights of one teacher model come from: just one of `trained`, `imported` and `missing`."""

    model: str
    trained: Setting | None = None
    """The setting of the run that makes it, with seed 0."""
    imported: ImportedTeacher | None = None
    missing: str = ""
    """What is not here, and how to bring it."""

    @property
    def id(self) -> str | None:
        """How a table's head finds it; None where it is missing."""
        if self.trained is not None:
            return self.trained.run(0).run_id
        return self.imported.id if self.imported is not None else None

    def named(self, need: Literal["none", "architecture", "weights"]) -> tuple[Teacher, ...]:
        """What a setting names of it, by what the distiller needs."""
        if need == "none":
            return ()
        revision = model_of(self.model).revision
        if need == "architecture":
            return (Teacher(model=self.model, revision=revision),)
        if self.trained is not None:
            return (Teacher(model=self.model, revision=revision, run=self.trained.run(0)),)
        weights = self.imported.weights_sha256 if self.imported is not None else MISSING
        return (Teacher(model=self.model, revision=revision, weights_sha256=weights),)


def final_teachers(
    spec: StudySpec, dataset: "Dataset", pairs: Sequence[Pair], imports: Sequence[ImportedTeacher]
) -> dict[str, TeacherSource]:
    """The teachers of the final runs by model, as `teachers:` asks. Raises ValueError as `chosen_import` does."""
    found: dict[str, TeacherSource] = {}
    for model in dict.fromkeys(model for pair in pairs for model in pair.teachers):
        way = way_of(spec, model)
        found[model] = trained(spec, dataset, model) if way == "train" else _imported(way, model, dataset, imports)
    return found


def way_of(spec: StudySpec, model: str) -> str:
    """`train`, `imported` or the name of an import."""
    if isinstance(spec.teachers, str):
        return spec.teachers
    ways = {known_model(name, spec.dataset_name): way for name, way in spec.teachers.items() if name != "default"}
    return ways.get(model, spec.teachers.get("default", "train"))


def teacher_recipe(spec: StudySpec, dataset: "Dataset", model: str) -> Recipe:
    """How teachers and assistants are trained: as the study's named recipe says, else the dataset's own."""
    from kdharness.training.recipes import load_recipe

    entry = model_of(model)
    named, _ = recipe_of(spec, None, dataset)
    return load_recipe(load_recipe(named).teacher_recipe or dataset.teacher_recipe).resolve(entry.name, entry.family)


def trained(spec: StudySpec, dataset: "Dataset", model: str, validation: float = 0.0) -> TeacherSource:
    """A teacher that the plan trains: without a teacher, by the teachers' recipe, untouched by the study's changes."""
    from kdharness.distillers.registry import DISTILLERS

    entry, alone = model_of(model), DISTILLERS.get("none")
    setting = Setting(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        validation=validation,
        student=model,
        student_revision=entry.revision,
        distiller="none",
        distiller_revision=revision_of(alone, alone.revision),
        constants=canonical(alone.Config()),
        recipe=teacher_recipe(spec, dataset, model),
    )
    return TeacherSource(model, trained=setting)


def chosen_import(way: str, model: str, dataset: str, imports: Sequence[ImportedTeacher]) -> ImportedTeacher | None:
    """The import that `imported`, or a name, means for the model on the dataset; None where there is none.

    Raises ValueError where several fit, or where the one of that name is of another model or dataset.
    """
    if way != "imported":
        named = next((one for one in imports if one.name == way), None)
        if named is not None and (named.model, named.dataset) != (model, dataset):
            raise ValueError(f"`{way}` is a {named.model} for {named.dataset}, not a {model} for {dataset}")
        return named
    fits = [one for one in imports if (one.model, one.dataset) == (model, dataset)]
    if len(fits) > 1:
        names = " and ".join(f"`{one.name}`" for one in fits)
        raise ValueError(f"{names} are both imports of {model} for {dataset}: name one, `{{{model}: {fits[0].name}}}`")
    return fits[0] if fits else None


def _imported(way: str, model: str, dataset: "Dataset", imports: Sequence[ImportedTeacher]) -> TeacherSource:
    found = chosen_import(way, model, dataset.name, imports)
    if found is not None:
        return TeacherSource(model, imported=found)
    called = "" if way == "imported" else f" called {way!r}"
    option = "" if way == "imported" else f" --name {way}"
    return TeacherSource(
        model,
        missing=f"no imported {model} for {dataset.name}{called}: "
        f"kdharness teachers import FILE --model {model} --dataset {dataset.name}{option}",
    )


def teacher_run(source: TeacherSource) -> WantedRun:
    """The run that makes a trained teacher: seed 0 of a setting that no row touches."""
    setting = source.trained
    assert setting is not None  # asked for trained teachers only
    provenance = {f"{RECIPE}{name}": "the teachers' recipe" for name in type(setting.recipe).model_fields}
    return WantedRun(
        setting=setting,
        seed=0,
        purpose="teacher",
        label=TEACHER,
        pair=setting.student,
        student=setting.student,
        teacher=None,
        provenance=provenance,
    )


def teacher_runs(sources: Mapping[str, TeacherSource], students: Sequence[WantedRun]) -> list[WantedRun]:
    """The runs of those trained teachers that a student needs."""
    needed = {need for run in students for need in run.needs}
    return [
        teacher_run(source)
        for source in sources.values()
        if source.trained is not None and source.trained.run(0) in needed
    ]
