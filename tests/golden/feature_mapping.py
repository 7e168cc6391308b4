"""The part of the manifests' vocabulary that feature and relation distillers have (see mapping.py)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Meanings = Mapping[str, tuple[Callable[[Any], Any], str]]
"""A Config's field -> (how a value is read, the words for it)."""


def truth(flag: Any) -> bool:
    return flag in (True, 1, "True", "true")


def single(value: Any) -> float:
    """CRD's temperature is kept in a float32 buffer."""
    return float(np.float32(value))


def of_catkd(constants: dict[str, Any]) -> dict[str, Any]:
    """Two switches and a number say whose maps are compared; one leaves the cross-entropy out."""
    constants, partial = dict(constants), constants.get("partial", False)
    chosen = "bottom" if constants.get("strategy", 0) else "top"
    if constants.get("only", False):
        constants["ce_weight"] = 0.0
    constants["classes"] = chosen if partial else "all"
    return {field: value for field, value in constants.items() if field not in ("partial", "strategy", "only")}


def of_locality(constants: dict[str, Any]) -> dict[str, Any]:
    """Its code knows three ways to compare; its configurations use one."""
    from mapping import NotInThisVersion

    if constants.get("transform", "linear") != "linear":
        raise NotInThisVersion(f"locality guidance by {constants['transform']} is not in this version")
    return {field: value for field, value in constants.items() if field != "transform"}


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
    "simkd": {
        "ce_weight": (float, "cls cls_weight"),
        "kd_weight": (float, "div div_weight"),
        "map_weight": (float, "beta"),
        "temperature": (float, "kd_T"),
        "factor": (int, "factor"),
    },
    "catkd": {
        "ce_weight": (float, "ce_weight CAT_KD.LOSS.CE_WEIGHT"),
        "cam_weight": (float, "beta CAT_loss_weight CAT_KD.LOSS.CAT_loss_weight"),
        "resolution": (int, "CAM_RESOLUTION CAT_KD.LOSS.CAM_RESOLUTION"),
        "normalize": (truth, "IF_NORMALIZE CAT_KD.IF_NORMALIZE"),
        "binarize": (truth, "binar IF_BINARIZE CAT_KD.IF_BINARIZE"),
        "only": (truth, "onlyCAT CAT_KD.onlyCAT"),
        "partial": (truth, "partial IF_OnlyTransferPartialCAMs CAT_KD.IF_OnlyTransferPartialCAMs"),
        "strategy": (int, "strategy Strategy CAT_KD.Strategy"),
        "class_count": (int, "n CAMs_Nums CAT_KD.CAMs_Nums"),
    },
    "ofd": {
        **_weights("OFD", "overhaul_weight"),
        "kernel": (int, "connector_kernel OFD.CONNECTOR.KERNEL_SIZE"),
    },
    "reviewkd": {
        "ce_weight": (float, "ce_weight REVIEWKD.CE_WEIGHT"),
        "review_weight": (float, "reviewkd_weight REVIEWKD.REVIEWKD_WEIGHT"),
        "warmup": (int, "warmup_epochs REVIEWKD.WARMUP_EPOCHS"),
        "mid_channels": (int, "mid_channel"),
        "student_preact": (truth, "stu_preact REVIEWKD.STU_PREACT"),
    },
    "crd": {
        **_weights("CRD", "contrast_weight"),
        "dimension": (int, "feat_dim CRD.FEAT.DIM"),
        "negatives": (int, "nce_k CRD.NCE.K"),
        "temperature": (single, "temperature CRD.NCE.TEMPERATURE"),
        "momentum": (float, "momentum CRD.NCE.MOMENTUM"),
        "positive": (str, "mode CRD.MODE"),
    },
    "fcfd": {
        "ce_weight": (float, "ce_weight"),
        "kd_weight": (float, "kl_student_weight"),
        "mixed_weight": (float, "kl_mixture_weight"),
        "feature_weight": (float, "weight_l2"),
        "temperature": (float, "T"),
        "warmup": (int, "warmup_epochs"),
    },
    "locality": {
        "ce_weight": (float, "ce_weight"),
        "guidance_weight": (float, "inter_weight"),
        "transform": (str, "transform INTER_TRANSFORM"),
    },
    "ab": {"margin": (float, "margin"), "init_epochs": (int, "init_epochs")},
    "fsp": {"init_epochs": (int, "init_epochs")},
    "ft": {
        "ce_weight": (float, "ce_weight gamma"),
        "factor_weight": (float, "beta"),
        "attention_power": (int, "p1"),
        "distance_power": (int, "p2"),
        "rate": (float, "k"),
        "init_epochs": (int, "init_epochs"),
    },
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
    "simkd": ("simkd", {}),
    "catkd": ("catkd", {}),
    "ofd": ("ofd", {}),
    "reviewkd": ("reviewkd", {}),
    "crd": ("crd", {}),
    "fcfd": ("fcfd", {}),
    "lg": ("locality", {}),
    "locality": ("locality", {}),
    "ab": ("ab", {}),
    "fsp": ("fsp", {}),
    "ft": ("ft", {}),
}

# What words say together.
TOGETHER: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"catkd": of_catkd, "locality": of_locality}

# Section 3 of trajectory/README.md, where it differs from the defaults.
TRAJECTORY: Mapping[str, Mapping[str, Any]] = {
    "reviewkd": {"review_weight": 0.6, "warmup": 4},
    "catkd": {"cam_weight": 0.7, "resolution": 2, "normalize": False},
    "crd": {"negatives": 16, "temperature": single(0.07)},
}
