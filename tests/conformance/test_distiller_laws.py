"""Every registered distiller keeps the laws, with its defaults and with its other switches."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from kdharness.core.types import Distiller, DistillerConfig
from kdharness.distillers.registry import DISTILLERS
from kdharness.testing.bench import Bench
from kdharness.testing.distiller import DISTILLER_CHECKS, check_temperature, check_zero_at_equal

SWITCHES: Mapping[str, tuple[dict[str, object], ...]] = {
    "kd": (
        {"standardize": "zscore"},
        {"standardize": "zscore", "std": "population"},
        {"standardize": "std", "reduction": "mean"},
    ),
    "dkd": ({"standardize": "zscore", "warmup": 0},),
    "luminet": ({"warmup": 0, "temperature": 0.7},),
    "fitnet": ({"layer": "stem"},),
    "rkd": ({"squared": True},),
    "simkd": ({"ce_weight": 1.0, "kd_weight": 1.0},),
    "catkd": (
        {"normalize": False, "binarize": True, "classes": "top", "class_count": 4},
        {"classes": "bottom", "class_count": 4},
    ),
    "ofd": ({"kernel": 3},),
    "fcfd": ({"student_map": "preact", "paths": 4},),
    "reviewkd": ({"student_preact": True, "warmup": 0},),
    "crd": ({"negatives": 20, "positive": "relax"}, {"replacement": True}),
    "at": ({"exponent": 1, "layers": "stage1=stage2 stage3=stage3"},),
    "vid": ({"train_variances": True, "layers": "first"},),
    "kdsvd": ({"form": "repdistiller", "rank": 2},),
    "dist": ({"temperature": 1.0},),
    "nkd": ({"temperature": 1.0},),
    "label_smoothing": ({"smoothing": 1.0},),
    "skd": ({"temperature": 1.0},),
    "ctkd": ({"base": "dkd"}, {"standardize": "zscore", "curriculum": "linear"}),
    "dml": ({"epsilon": 1e-8},),
    "blockkd": ({"stones": "stage2=stage1"},),
    "mlkd": ({"standardize": "zscore"}, {"standardize": "mean"}),
    "ttm": ({"exponent": 0.5},),
    "wttm": ({"exponent": 0.5},),
}
ZERO_AT_EQUAL: Mapping[str, tuple[str, ...]] = {
    "kd": ("kd",),
    "dkd": ("tckd", "nckd"),
    "luminet": ("kd",),
    "skd": ("kd",),
    "ctkd": ("kd", "tckd", "nckd"),
    "dml": ("kl",),
    "mlkd": ("instance", "batch", "class"),
    "simkd": ("kd",),
    "fcfd": ("kd",),
}
"""Terms of the logits; those of features have theirs in tests/distillers, adapters have none that is known."""

SQUARED_TEMPERATURE: Mapping[str, tuple[str, ...]] = {
    "kd": ("kd",),
    "dkd": ("tckd", "nckd"),
    "nkd": ("others",),
    "skd": ("kd",),
    "simkd": ("kd",),
    "fcfd": ("kd",),
    "blockkd": ("kd", "cross"),
}
OTHER_TEMPERATURE: Mapping[str, str] = {
    "luminet": "its square stands in the weight (alpha²), not T²",
    "dist": "a correlation does not shrink with T, so T² makes it grow",
    "mlkd": "four of its five temperatures are fixed; the one alone is KD's divergence",
    "crd": "divides inner products of embeddings",
}
"""Methods with a temperature that the law does not hold for, and why."""

CASES = [
    pytest.param(name, values, id=f"{name}-{'-'.join(str(value) for value in values.values()) or 'defaults'}")
    for name in DISTILLERS
    for values in ({}, *SWITCHES.get(name, ()))
]


def config_of(name: str, values: dict[str, object]) -> DistillerConfig:
    return DISTILLERS.get(name).Config(**values)


@pytest.mark.parametrize("check", DISTILLER_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize(("name", "values"), CASES)
def test_law(
    name: str,
    values: dict[str, object],
    check: Callable[[type[Distiller], DistillerConfig | None], None],
) -> None:
    check(DISTILLERS.get(name), config_of(name, values))


@pytest.mark.parametrize(("name", "values"), CASES)
def test_an_inactive_term_is_not_computed(name: str, values: dict[str, object]) -> None:
    bench = Bench.make(DISTILLERS.get(name), config_of(name, values))
    student, teacher = bench.outputs()
    every = bench.batch.active
    for term in every if len(every) > 1 else ():
        quiet = replace(bench, batch=replace(bench.batch, active=every - {term}))
        assert quiet.losses(student, teacher).keys() == every - {term}


@pytest.mark.parametrize(("name", "values"), CASES)
def test_known_minimum(name: str, values: dict[str, object]) -> None:
    method, config = DISTILLERS.get(name), config_of(name, values)
    terms = method(config).weights(1).keys() & ZERO_AT_EQUAL.get(name, ())
    if "epsilon" in values:  # a summand in the logarithm moves the minimum
        terms = set()
    check_zero_at_equal(method, config, terms)


@pytest.mark.parametrize(
    "name", [name for name in DISTILLERS if "temperature" in DISTILLERS.get(name).Config.model_fields]
)
def test_squared_temperature(name: str) -> None:
    assert (name in SQUARED_TEMPERATURE) != (name in OTHER_TEMPERATURE)
    check_temperature(DISTILLERS.get(name), None, SQUARED_TEMPERATURE.get(name, ()))


def test_a_missing_square_of_the_temperature_is_found() -> None:
    with pytest.raises(AssertionError, match="kd has no limit at high temperature"):
        check_temperature(DISTILLERS.get("luminet"), None, ("kd",))
