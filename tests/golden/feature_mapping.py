"""The part of the manifests' vocabulary that feature and relation distillers have (see mapping.py)."""

from collections.abc import Callable, Mapping
from typing import Any

Meanings = Mapping[str, tuple[Callable[[Any], Any], str]]
"""A Config's field -> (how a value is read, the words for it)."""


def truth(flag: Any) -> bool:
    return flag in (True, 1, "True", "true")


def _weights(block: str, field: str) -> dict[str, tuple[Callable[[Any], Any], str]]:
    """The two weights that every method of mdistiller has."""
    return {
        "ce_weight": (float, f"ce_weight gamma {block}.LOSS.CE_WEIGHT {block}.CE_WEIGHT"),
        field: (float, f"feat_weight beta {block}.LOSS.FEAT_WEIGHT {block}.FEAT_WEIGHT"),
    }


WORDS: Mapping[str, Meanings] = {
    "rkd": {
        **_weights("RKD", "feat_weight"),
        "distance_weight": (float, "distance_weight RKD.DISTANCE_WEIGHT"),
        "angle_weight": (float, "angle_weight RKD.ANGLE_WEIGHT"),
        "squared": (truth, "squared RKD.PDIST.SQUARED"),
        "epsilon": (float, "eps RKD.PDIST.EPSILON"),
    },
    "sp": _weights("SP", "similarity_weight"),
    "pkt": {**_weights("PKT", "neighbour_weight"), "epsilon": (float, "eps")},
    "cc": _weights("CC", "correlation_weight"),
    "at": {**_weights("AT", "attention_weight"), "exponent": (int, "p AT.P")},
    "nst": _weights("NST", "mmd_weight"),
    "vid": {
        **_weights("VID", "information_weight"),
        "variance": (float, "init_pred_var VID.INIT_PRED_VAR"),
        "epsilon": (float, "eps VID.EPS"),
    },
    "kdsvd": {**_weights("KDSVD", "relation_weight"), "rank": (int, "k KDSVD.K")},
}

# Where the authors multiply several weights by one more: the name it has above, and what it multiplies.
FACTORS: Mapping[str, tuple[str, tuple[str, ...]]] = {"rkd": ("feat_weight", ("distance_weight", "angle_weight"))}

# The released lists of features are cut to the shorter one.
METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "rkd": ("rkd", {"feat_weight": 1.0, "distance_weight": 25.0, "angle_weight": 50.0}),
    "sp": ("sp", {}),
    "pkt": ("pkt", {}),
    "cc": ("cc", {}),
    "at": ("at", {"layers": "first"}),
    "nst": ("nst", {"layers": "first"}),
    "vid": ("vid", {"layers": "first"}),
    "kdsvd": ("kdsvd", {"layers": "first"}),
    "kdsvd_rep": ("kdsvd", {"layers": "first", "form": "repdistiller"}),
}

# Section 3 of trajectory/README.md, where it differs from the defaults.
TRAJECTORY: Mapping[str, Mapping[str, Any]] = {}
