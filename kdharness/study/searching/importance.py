"""Which constants mattered: Optuna's PED-ANOVA over the draws of a search."""

from collections.abc import Sequence

from kdharness.study.searching.course import Point
from kdharness.study.searching.record import SearchRecord
from kdharness.study.searching.sampling import distributions, load, new_study, quiet, told

LEAST = 4
"""Fewer draws, or draws of one value, say nothing."""


def importance(record: SearchRecord, points: Sequence[Point]) -> dict[str, float]:
    """By constant, the largest first, summing to 1 (Watanabe et al., IJCAI 2023); of the metric, not of the cost.

    Empty below `LEAST` points with a value. Raises EnvironmentRefused where Optuna is not installed.
    """
    values = {point.results[0, record.seeds[0]].value for point in points}
    if len(points) < LEAST or len(values) < 2:
        return {}
    optuna, known = load(), distributions(record.ranges)
    single = record.model_copy(update={"sampler": "random"})
    study = new_study(single)
    study.add_trials([told(single, point, known) for point in points])
    with quiet():
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=True)
    return {str(name): float(share) for name, share in found.items()}
