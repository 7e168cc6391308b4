"""The setup paragraph: data, schedule, augmentation, teachers, seeds, protocol, statistics, hardware, as LaTeX."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdharness.core.records import Recipe, Spread
from kdharness.reporting import names
from kdharness.reporting.comparing import ENOUGH
from kdharness.reporting.datasets import known_datasets
from kdharness.reporting.latex import escape
from kdharness.reporting.wording import DATASETS as WARNINGS
from kdharness.reporting.wording import SPREADS

AUGMENTATIONS = {
    "none": "no augmentation",
    "shift1": "random shifts by at most one pixel",
    "crop4-flip": "random crops after padding by 4 pixels, and horizontal flips",
    "crop4-flip-randaugment": "random crops after padding by 4 pixels, horizontal flips, RandAugment and Cutout",
    "crop4-flip-autoaugment": "random crops after padding by 4 pixels, horizontal flips and AutoAugment",
    "crop4-flip-trivialaugment": "random crops after padding by 4 pixels, horizontal flips and TrivialAugment",
    "rotate20-flip": "random rotations by at most 20 degrees, and horizontal flips",
    "resized-crop-flip": "random resized crops and horizontal flips",
    "resized-crop-flip-randaugment-erasing": "random resized crops, horizontal flips, RandAugment and random erasing",
}
SAMPLERS = {
    "tpe": "the tree-structured Parzen estimator",
    "random": "random search",
    "gp": "a Gaussian process",
    "cmaes": "CMA-ES",
    "nsga2": "NSGA-II",
}
PRECISIONS = {
    "tf32": "single precision, TF32 where the device has it",
    "fp32": "single precision",
    "bf16": "bfloat16 autocast",
    "fp64": "double precision",
}


@dataclass(frozen=True)
class Trained:
    """How one row's students of one pair were trained."""

    label: str
    student: str
    recipe: Recipe


@dataclass(frozen=True)
class Setup:
    """What a study did, as far as a setup paragraph says it."""

    datasets: tuple[str, ...]
    students: tuple[Trained, ...]
    teachers: tuple[Recipe, ...]
    """Of the teachers that were trained here."""
    imported: tuple[str, ...]
    """Models of the teachers that were not."""
    seeds: tuple[int, ...]
    paired: bool
    selects: tuple[str, ...]
    """Of the tables: last, best or best-val."""
    spreads: tuple[Spread, ...]
    tested: bool
    """Whether a table has a test against its baseline."""
    plugins: tuple[str, ...] = ()
    """Methods that no paper known here stands behind."""
    searches: tuple[Mapping[str, Any], ...] = ()
    """As they are recorded."""
    devices: Mapping[str, int] = field(default_factory=dict)
    """Finished runs by device."""
    versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of the packages that the runs used."""
    commit: str | None = None
    """Of kdharness."""


def cited(setup: Setup) -> set[str]:
    """The keys of the papers that the paragraph cites."""
    known = known_datasets()
    return {known[name]["cite"] for name in setup.datasets if name in known} | (
        {"benjamini1995controlling"} if setup.tested else set()
    )


def paragraph(setup: Setup) -> str:
    """The sentences, one a line."""
    said = [*_data(setup), *_schedule(setup), *_teachers(setup), *_protocol(setup), *_search(setup), *_machine(setup)]
    return "\n".join(["% The setup, as the results database knows it.", *said, ""])


def _data(setup: Setup) -> Iterator[str]:
    for name in setup.datasets:
        yield _dataset(name)
        if name in WARNINGS:
            yield escape(f"N.B.: {WARNINGS[name]}")
    sizes = {one.recipe.image_size for one in setup.students} - {None}
    if sizes:
        yield escape(
            f"Images are resized to {' or '.join(f'{size}×{size}' for size in sorted(sizes, key=str))} pixels."
        )


def _dataset(name: str) -> str:
    known = known_datasets().get(name)
    if known is None:
        return escape(f"We use {name}.")
    size = f"{known['pixels']}×{known['pixels']} pixels"
    about = f"{known['train']:,} training and {known['test']:,} test images of {known['classes']:,} classes, {size}"
    return escape(f"We use {known['printed']}") + rf"~\cite{{{known['cite']}}}" + escape(f" ({about}).")


def _schedule(setup: Setup) -> Iterator[str]:
    if not setup.students:
        return
    say = _Varying(setup.students)
    yield escape(
        f"Students are trained for {say(lambda recipe: _epochs(recipe.epochs))} by {say(_optimizer)}, with batch size "
        f"{say(lambda recipe: f'{recipe.batch_size}')} and weight decay {say(_decay)}."
    )
    yield escape(f"The learning rate is {say(lambda recipe: f'{recipe.lr:g}')}, {say(_course)}.")
    views = say(lambda recipe: AUGMENTATIONS.get(recipe.augment, f"augmentation {recipe.augment}"))
    yield escape(f"Training images are seen with {views}; test images as they are.")
    yield escape(f"Students compute in {say(lambda recipe: PRECISIONS[recipe.precision])}.")


def _epochs(number: int) -> str:
    return "1 epoch" if number == 1 else f"{number} epochs"


def _optimizer(recipe: Recipe) -> str:
    if recipe.optimizer == "sgd":
        return f"SGD ({'Nesterov ' if recipe.nesterov else ''}momentum {recipe.momentum:g})"
    return f"AdamW (betas {recipe.momentum:g} and 0.999)"


def _decay(recipe: Recipe) -> str:
    return f"{recipe.weight_decay:g}" + (" on matrices only" if recipe.weight_decay_on == "matrices" else "")


def _course(recipe: Recipe) -> str:
    """What becomes of the learning rate."""
    warmup = f"after {_epochs(recipe.warmup_epochs)} of linear warm-up " if recipe.warmup_epochs else ""
    if recipe.schedule == "cosine":
        return f"{warmup}following a cosine to {recipe.final_lr:g}"
    drops: dict[float, list[int]] = {}
    for epoch, times in Counter(one for one in recipe.milestones if one < recipe.epochs).items():
        drops.setdefault(recipe.lr_decay**times, []).append(epoch)
    said = [f"by {factor:g} after epoch{_s(epochs)} {_listed(epochs)}" for factor, epochs in drops.items()]
    return warmup + (f"multiplied {' and '.join(said)}" if said else "constant")


class _Varying:
    """What is said of the students' recipes: one phrase, or the usual one with who departs from it."""

    def __init__(self, students: Sequence[Trained]) -> None:
        self.students = students

    def __call__(self, phrase: Callable[[Recipe], str]) -> str:
        said = [phrase(one.recipe) for one in self.students]
        usual = Counter(said).most_common(1)[0][0]
        explained = [self._by(said, who) for who in (lambda one: names.model(one.student), lambda one: one.label)]
        by_who, rest = min(explained, key=lambda one: len(one[1]))
        others: dict[str, list[str]] = {}
        for name, text in by_who.items():
            others.setdefault(text, []).append(name)
        others.pop(usual, None)
        parts = [f"{text} for {_listed(who_do)}" for text, who_do in others.items()]
        parts += [f"otherwise for some of {_listed(rest)}, as the settings say"] if rest else []
        return usual + (f" ({'; '.join(parts)})" if parts else "")

    def _by(self, said: Sequence[str], who: Callable[[Trained], str]) -> tuple[dict[str, str], list[str]]:
        """What is usual for each student, or for each row; and the rows that this does not hold for."""
        counts: dict[str, Counter[str]] = {}
        for one, text in zip(self.students, said, strict=True):
            counts.setdefault(who(one), Counter())[text] += 1
        usual = {name: count.most_common(1)[0][0] for name, count in counts.items()}
        rest = [one.label for one, text in zip(self.students, said, strict=True) if usual[who(one)] != text]
        return usual, list(dict.fromkeys(rest))


def _teachers(setup: Setup) -> Iterator[str]:
    if setup.teachers:
        say = _Varying([Trained("", "", recipe) for recipe in setup.teachers])
        yield escape(
            f"Teachers are trained with the same code for {say(lambda recipe: _epochs(recipe.epochs))}, seed 0, and "
            "teach with the weights of their last epoch."
        )
    if setup.imported:
        models = _listed(sorted({names.model(model) for model in setup.imported}))
        yield escape(f"The teachers {models} have released weights, whose accuracy was measured again.")


def _protocol(setup: Setup) -> Iterator[str]:
    each = f"seed{_s(setup.seeds)} {_numbers(setup.seeds)}"
    yield escape(
        f"Each setting is trained on all training images with {each}; runs with the same seed begin with the same "
        "student and see the same batches."
    )
    epoch = {
        "last": "the last epoch's",
        "best": "the best epoch's on the test images, which is optimistic",
        "best-val": "the best epoch's on the validation images",
    }
    shown = " and, where a table says so, ".join(epoch[select] for select in setup.selects)
    yield escape(
        f"Test accuracy is sealed until a run is finished; reported is {shown}. Numbers are means ± "
        f"{' or '.join(SPREADS[spread] for spread in setup.spreads)}."
    )
    if setup.tested:
        test = "paired by seed" if setup.paired else "Welch's"
        yield (
            escape(f"Differences are tested by two-sided t tests ({test}), adjusted over a table")
            + r"~\cite{benjamini1995controlling}"
            + escape(f", where both sides have at least {ENOUGH} runs.")
        )


def _search(setup: Setup) -> Iterator[str]:
    if not setup.searches:
        own = f", is a default of the plug-in{_s(setup.plugins)} {_listed(setup.plugins)}" if setup.plugins else ""
        yield escape(f"No constant was searched for: each comes from its paper{own} or stands in the settings.")
        return
    for one in setup.searches:
        by = _sampled(one)
        score = names.metric(one["maximize"]).removesuffix(" (%)").lower()
        pairs = _listed([names.pair(pair) for pair in one["pairs"]])
        constants = f"constant{_s(one['ranges'])} {_listed(list(one['ranges']))}"
        yield escape(
            f"Of {one['label']} the {constants} {'was' if len(one['ranges']) == 1 else 'were'} chosen among "
            f"{one['draws']} draws of {by} by {score} on {pairs}, on {one['validation_images']:,} training images that "
            "were held out from the students and their teacher."
        )


def _sampled(search: Mapping[str, Any]) -> str:
    """`the tree-structured Parzen estimator, the first 12 of them random`: it learns from whole generations."""
    generation, draws = search.get("generation", 1), search["draws"]
    startup = search.get("settings", {}).get("n_startup_trials", 0)
    random = min(draws, generation * math.ceil(startup / generation))
    by = SAMPLERS.get(search["sampler"], search["sampler"])
    if random == draws:
        return SAMPLERS["random"]
    return f"{by}, the first {random} of them random," if random > 1 else by


def _machine(setup: Setup) -> Iterator[str]:
    if setup.devices:
        on = (f"{count} run{_s(range(count))} on {device}" for device, count in sorted(setup.devices.items()))
        yield escape(f"Hardware: {_listed(list(on))}.")
    used = [f"{name} {' and '.join(versions)}" for name, versions in sorted(setup.versions.items())]
    commit = f" (commit {setup.commit[:12]})" if setup.commit else ""
    if used:
        yield escape(f"Software: {_listed(used)}{commit}.")


def _listed(values: Sequence[Any]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    texts = [str(value) for value in values]
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))


def _numbers(values: Sequence[int]) -> str:
    """As `_listed`; more than three that follow each other as `0 to 4`."""
    if len(values) > 3 and list(values) == list(range(values[0], values[0] + len(values))):
        return f"{values[0]} to {values[-1]}"
    return _listed(values)


def _s(values: Sequence[Any]) -> str:
    return "" if len(values) == 1 else "s"
