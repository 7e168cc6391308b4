"""Which printed number was measured where runs of ours stand, and in what the two were trained otherwise."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from kdharness.reporting.published.values import Printed
from kdharness.reporting.runs import Run

_PREPROCESS = {"none": "none", "zscore": "zscore", "mean_shift": "mean", "std_only": "std"}
_WEIGHTS = {"kd": "kd_weight", "dkd": "tckd_weight", "ctkd": "kd_weight", "mlkd": "instance_weight"}
"""Which of our constants the printed `lambda_kd` is."""

_KNOWN_BY = {"temperature": "temperature", "kd_weight": "lambda_kd", "standardize": "preprocess"}
"""What a printed setting calls one of our constants."""

_DIFFERENCES = {
    "logit_difference": ("logit_diff_mean", "raw logits"),
    "logit_difference_max": ("logit_diff_max", "raw logits"),
    "zscore_difference": ("logit_diff_mean", "standardized logits"),
    "zscore_difference_max": ("logit_diff_max", "standardized logits"),
}
"""Of our metrics that print tells apart by their setting: its metric, and on what."""


def method_of(run: Run, known: Collection[str]) -> str | None:
    """The run's method by its printed name: its distiller's, with `+ls` where it standardizes; else its label's.

    A run that departs from its distiller (by assistants, a control teacher) has only its label to go by.
    """
    if run.departs is None:
        name = {"none": "student", "locality": "lg"}.get(run.distiller, run.distiller.casefold())
        name = "+".join(part.strip() for part in name.split("+"))
        name += "+ls" if run.constants.get("standardize") == "zscore" else ""
        if name in known:
            return name
    label = "".join(run.label.casefold().split())
    return label if label in known else None


def model_of(name: str | None) -> str:
    """`resnet50_cifar` -> `resnet50`: the paper's name of a network, which its dataset tells apart."""
    parts = (part.strip().removesuffix("_cifar").removesuffix("_imagenet") for part in (name or "").split("+"))
    return "+".join(part.removeprefix("pycls_") for part in parts)


def when_of(metric: str) -> tuple[str, str]:
    """What is measured and at which epoch: `test_top1_best` -> (top1, best)."""
    what = metric.partition("_")[2] if metric.startswith(("test_", "val_", "train_")) else metric
    for when in ("last", "best"):
        if what.endswith(f"_{when}"):
            return what.removesuffix(f"_{when}"), when
    return what, "last"


def printed_for(run: Run, metric: str, printed: Mapping[str, Sequence[Printed]]) -> Printed | None:
    """The number printed for the run's method, pair and axis values, out of a table's by method.

    None where there is none, or more than one.
    """
    what, when = when_of(metric)
    here = [
        one
        for one in printed.get(method_of(run, printed) or "", ())
        if _is_metric(one, what, when)
        and is_pair(one, run)
        and all(_KNOWN_BY.get(axis, axis.removeprefix("recipe.")) in one.setting for axis in run.axes)
    ]
    alike = [one for one in here if not differences_of(one, run)]
    found = alike or here
    return found[0] if len({one.text for one in found}) == 1 else None


def _is_metric(printed: Printed, what: str, when: str) -> bool:
    if what in _DIFFERENCES:
        return (printed.metric, printed.setting.get("on")) == _DIFFERENCES[what]
    return printed.metric in (what, f"{what}_{when}")


def is_pair(printed: Printed, run: Run) -> bool:
    """Whether both stand for one dataset, teacher and student; a student alone has no teacher in print."""
    if printed.dataset != run.dataset or printed.student != model_of(run.student):
        return False
    return not printed.teacher or printed.teacher == model_of(run.teacher)


def differences_of(printed: Printed, run: Run) -> list[str]:
    """See `differences`."""
    return differences(printed, run.distiller, run.recipe, run.constants)


def differences(printed: Printed, distiller: str, recipe: Mapping[str, Any], constants: Mapping[str, Any]) -> list[str]:
    """In what is known of both, where they were trained otherwise: `temperature: theirs 2, ours 4`."""
    ours = dict(_ours(distiller, recipe, constants))
    return [
        f"{name.replace('_', ' ')}: theirs {value}, ours {ours[name]}"
        for name, value in printed.setting.items()
        if name in ours and not _same(_PREPROCESS.get(value, value) if name == "preprocess" else value, ours[name])
    ]


def _ours(distiller: str, recipe: Mapping[str, Any], constants: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Ours under the names of printed settings."""
    for name in ("epochs", "batch_size", "lr"):
        if name in recipe:
            yield name, recipe[name]
    names = {"temperature": "temperature", "ce_weight": "lambda_ce", "standardize": "preprocess"}
    names[_WEIGHTS.get(distiller, "")] = "lambda_kd"
    for own, theirs in names.items():
        if own in constants:
            yield theirs, constants[own]
    if constants.get("tckd_weight") and "nckd_weight" in constants and distiller == "dkd":
        yield "dkd_beta", constants["nckd_weight"] / constants["tckd_weight"]


def _same(printed: Any, ours: Any) -> bool:
    """Numbers by value; what is no number in print ("128 / 512") says nothing definite."""
    if isinstance(printed, int | float) and isinstance(ours, int | float):
        return abs(printed - ours) <= 1e-9 * max(abs(printed), abs(ours))
    return isinstance(ours, int | float) or printed == ours
