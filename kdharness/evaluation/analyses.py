"""The analyses that need nothing but what a student and its teacher said to a split, by name."""

from collections.abc import Callable, Mapping

from kdharness.evaluation.calibration import calibration
from kdharness.evaluation.classes import classes
from kdharness.evaluation.entropy import entropy
from kdharness.evaluation.features import features
from kdharness.evaluation.fidelity import fidelity
from kdharness.evaluation.judged import Found, Judged
from kdharness.evaluation.logits import logits
from kdharness.evaluation.perception import perception

OF_OUTPUTS: Mapping[str, Callable[[Judged], Found | None]] = {
    "calibration": calibration,
    "classes": classes,
    "entropy": entropy,
    "fidelity": fidelity,
    "logits": logits,
    "features": features,
    "perception": perception,
}
"""None: the analysis says nothing of this student."""
