"""The manifests' vocabulary -> distillers and their constants. One table, for every runner of this folder.

A manifest names a method (`dkd_ls`, `kd_ensemble`) and hyper-parameters in the words of the authors' code: short ones
(`T`, `alpha`), mdistiller's (`DKD.ALPHA`) or an argparse script's (`kd_T`). Words without a meaning for the method
(`cli`, `layers`, `_temperature`) are passed over: if one mattered, the numbers would differ.
"""

from collections.abc import Callable, Mapping
from typing import Any

import feature_mapping as features

Words = Mapping[str, tuple[str, Callable[[Any], Any]]]


class NotInThisVersion(Exception):
    """The method has no distiller yet; the message is the reason for the skip."""


def _layer(index: Any) -> str:
    """mdistiller's place in `feats`: 0 is the stem."""
    return "stem" if int(index) == 0 else f"stage{int(index)}"


def _standardize(flag: Any) -> str:
    return "zscore" if flag in (True, 1, "True", "true") else "none"


def _words(meanings: Mapping[str, tuple[Callable[[Any], Any], str]]) -> Words:
    return {word: (field, convert) for field, (convert, words) in meanings.items() for word in words.split()}


WORDS: Mapping[str, Words] = {
    "none": {},
    "kd": _words(
        {
            "ce_weight": (float, "ce_weight KD.LOSS.CE_WEIGHT gamma cls"),
            "kd_weight": (float, "kd_weight KD.LOSS.KD_WEIGHT alpha div"),
            "temperature": (float, "T tau temperature base_temp KD.TEMPERATURE kd_T"),
            "standardize": (_standardize, "logit_stand EXPERIMENT.LOGIT_STAND"),
        }
    ),
    "dkd": _words(
        {
            "ce_weight": (float, "ce_weight DKD.CE_WEIGHT gamma cls"),
            "tckd_weight": (float, "alpha DKD.ALPHA dkd_alpha"),
            "nckd_weight": (float, "beta DKD.BETA dkd_beta"),
            "temperature": (float, "T tau temperature base_temp DKD.T kd_T"),
            "warmup": (int, "warmup DKD.WARMUP"),
            "standardize": (_standardize, "logit_stand EXPERIMENT.LOGIT_STAND"),
        }
    ),
    "luminet": _words(
        {
            "ce_weight": (float, "ce_weight SOLVER.CE_WEIGHT LUMINET.CE_WEIGHT"),
            "kd_weight": (lambda alpha: float(alpha) ** 2, "alpha SOLVER.ALPHA LUMINET.ALPHA"),
            "temperature": (float, "T tau temperature SOLVER.T LUMINET.T"),
            "warmup": (int, "warmup LUMINET.WARMUP"),
        }
    ),
    "ttm": _words(
        {
            "ce_weight": (float, "ce_weight"),
            "ttm_weight": (float, "beta"),
            "exponent": (float, "gamma ttm_l"),
        }
    ),
    "wttm": _words(
        {
            "ce_weight": (float, "ce_weight"),
            "wttm_weight": (float, "beta"),
            "exponent": (float, "gamma ttm_l"),
        }
    ),
    "dist": _words(
        {
            "ce_weight": (float, "ori_loss_weight ce_weight"),
            "kd_weight": (float, "kd_loss_weight"),
            "inter_weight": (float, "beta dist_beta"),
            "intra_weight": (float, "gamma dist_gamma"),
            "temperature": (float, "tau dist_tau T temperature"),
        }
    ),
    "nkd": _words(
        {
            "ce_weight": (float, "ce_weight"),
            "others_weight": (float, "gamma"),
            "temperature": (float, "T temp temperature"),
        }
    ),
    "label_smoothing": _words({"smoothing": (float, "smoothing label_smoothing eps epsilon")}),
    "skd": _words(
        {
            "ce_weight": (float, "ce_weight"),
            "kd_weight": (float, "alpha kd_weight"),
            "temperature": (float, "T temperature"),
        }
    ),
    "ctkd": _words(
        {
            "base": (str, "distill"),
            "ce_weight": (float, "gamma ce_weight cls"),
            "kd_weight": (float, "alpha kd_weight div"),
            "dkd_factor": (float, "beta"),
            "tckd_weight": (float, "dkd_alpha"),
            "nckd_weight": (float, "dkd_beta"),
            "lowest": (float, "t_start"),
            "span": (float, "t_end"),
            "first_multiplier": (float, "decay_max"),
            "last_multiplier": (float, "decay_min"),
            "curriculum_epochs": (int, "decay_loops"),
            "curriculum": (lambda flag: "cosine" if int(flag) else "linear", "cosine_decay"),
            "standardize": (_standardize, "logit_stand"),
        }
    ),
    "dml": _words(
        {
            "ce_weight": (float, "ce_weight"),
            "kl_weight": (float, "lambda_kd kd_weight"),
            "epsilon": (float, "eps"),
        }
    ),
    "mlkd": _words(
        {
            "ce_weight": (float, "ce_weight KD.LOSS.CE_WEIGHT"),
            "kd_factor": (float, "kd_weight KD.LOSS.KD_WEIGHT"),
            "temperature": (float, "T temperature base_temp KD.TEMPERATURE"),
            "standardize": (_standardize, "logit_stand EXPERIMENT.LOGIT_STAND"),
        }
    ),
    "sld": _words(
        {
            "ce_weight": (float, "ce_weight KD.LOSS.CE_WEIGHT"),
            "kd_factor": (float, "kd_weight KD.LOSS.KD_WEIGHT"),
        }
    ),
    "fitnet": _words(
        {
            "ce_weight": (float, "ce_weight FITNET.LOSS.CE_WEIGHT"),
            "hint_weight": (float, "feat_weight FITNET.LOSS.FEAT_WEIGHT"),
            "layer": (_layer, "hint_layer FITNET.HINT_LAYER"),
        }
    ),
    **{name: _words(meanings) for name, meanings in features.WORDS.items()},
}

# The argparse scripts' `gamma` is the weight of the cross-entropy, where the short vocabulary of a logit vector means
# the method's own constant. An entry speaks like a script if it has one of the script's own words, or is a trajectory
# without a word that only the short vocabulary has.
SHORT = frozenset({"ce_weight", "ori_loss_weight", "kd_loss_weight", "tau"})
SCRIPTS: Mapping[str, tuple[frozenset[str], Words]] = {
    "ttm": (
        frozenset({"ttm_l"}),
        _words(
            {
                "ce_weight": (float, "gamma ce_weight cls"),
                "ttm_weight": (float, "beta"),
                "exponent": (float, "ttm_l"),
            }
        ),
    ),
    "wttm": (
        frozenset({"ttm_l"}),
        _words(
            {
                "ce_weight": (float, "gamma ce_weight cls"),
                "wttm_weight": (float, "beta"),
                "exponent": (float, "ttm_l"),
            }
        ),
    ),
    "dist": (
        frozenset({"dist_tau", "dist_beta", "dist_gamma"}),
        _words(
            {
                "ce_weight": (float, "gamma ori_loss_weight ce_weight cls"),
                "kd_weight": (float, "beta kd_loss_weight"),
                "inter_weight": (float, "dist_beta"),
                "intra_weight": (float, "dist_gamma"),
                "temperature": (float, "dist_tau tau"),
            }
        ),
    ),
}

# Where the authors multiply several weights by one more: the name it has above, and what it multiplies.
FACTORS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    **features.FACTORS,
    "ctkd": ("dkd_factor", ("tckd_weight", "nckd_weight")),
    "dist": ("kd_weight", ("inter_weight", "intra_weight")),
    "mlkd": ("kd_factor", ("instance_weight", "batch_weight", "class_weight")),
    "sld": ("kd_factor", ("kd_weight", "pseudo_weight")),
}

METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    **features.METHODS,
    "vanilla": ("none", {}),
    "none": ("none", {}),
    "kd": ("kd", {}),
    "kd_ls": ("kd", {"standardize": "zscore"}),
    "kd_ablate_none": ("kd", {}),
    "kd_ablate_mean_only": ("kd", {"standardize": "mean"}),
    "kd_ablate_std_only": ("kd", {"standardize": "std"}),
    "kd_ablate_both": ("kd", {"standardize": "zscore"}),
    "dkd": ("dkd", {}),
    "dkd_ls": ("dkd", {"standardize": "zscore"}),
    "luminet": ("luminet", {}),
    "fitnet": ("fitnet", {}),
    "ctkd": ("ctkd", {"dkd_factor": 1.0, "tckd_weight": 1.0, "nckd_weight": 2.0}),
    "ctkd_ls": ("ctkd", {"dkd_factor": 1.0, "tckd_weight": 1.0, "nckd_weight": 2.0, "standardize": "zscore"}),
    "dml": ("dml", {}),
    "dml_official_eps": ("dml", {"epsilon": 1e-8}),
    "dist": ("dist", {"kd_weight": 2.0, "inter_weight": 1.0, "intra_weight": 1.0}),
    "nkd": ("nkd", {}),
    "label_smoothing": ("label_smoothing", {}),
    "skd": ("skd", {}),
    "ttm": ("ttm", {}),
    "wttm": ("wttm", {}),
    "takd": ("kd", {"reduction": "mean"}),
    "mlkd": ("mlkd", {"kd_factor": 0.9, "instance_weight": 1.0, "batch_weight": 1.0, "class_weight": 1.0}),
    "mlkd_ls": (
        "mlkd",
        {"kd_factor": 9.0, "instance_weight": 1.0, "batch_weight": 1.0, "class_weight": 1.0, "standardize": "zscore"},
    ),
    "sld": ("sld", {"kd_factor": 0.9, "kd_weight": 1.0, "pseudo_weight": 1.0}),
}

TRAJECTORY: Mapping[str, Mapping[str, Any]] = {
    # section 3 of trajectory/README.md: an entry's `hyper` overrides it
    **features.TRAJECTORY,
    "kd": {"ce_weight": 0.1, "kd_weight": 0.9, "temperature": 4.0},
    "kd_ls": {"ce_weight": 0.1, "kd_weight": 9.0, "temperature": 2.0},
    "dkd": {"ce_weight": 1.0, "tckd_weight": 1.0, "nckd_weight": 8.0, "temperature": 4.0, "warmup": 4},
    "dkd_ls": {"ce_weight": 1.0, "tckd_weight": 9.0, "nckd_weight": 18.0, "temperature": 2.0, "warmup": 4},
    "luminet": {"ce_weight": 2.0, "kd_weight": 961.0, "temperature": 4.0, "warmup": 4},
    "fitnet": {"ce_weight": 1.0, "hint_weight": 100.0, "layer": "stage2"},
    "ctkd": {"ce_weight": 0.1, "kd_weight": 0.9, "lowest": 1.0, "span": 20.0, "curriculum_epochs": 4},
    "ctkd_ls": {"ce_weight": 0.1, "kd_weight": 9.0, "lowest": 1.0, "span": 20.0, "curriculum_epochs": 4},
    "dist": {"ce_weight": 1.0, "temperature": 4.0},
    "ttm": {"ce_weight": 1.0, "ttm_weight": 8.0, "exponent": 0.2},
    "wttm": {"ce_weight": 1.0, "wttm_weight": 2.0, "exponent": 0.2},
    "mlkd": {"ce_weight": 0.1, "temperature": 4.0},
    "mlkd_ls": {"ce_weight": 0.1, "temperature": 2.0},
}


def distiller_for(method: str, hyper: Mapping[str, Any], *, trajectory: bool = False) -> tuple[str, dict[str, Any]]:
    """The registered distiller and its constants for a manifest's entry. Raises NotInThisVersion.

    An `_ensemble` is the method itself on the mean of its teachers' raw logits, which the runner takes.
    """
    plain = method.removesuffix("_ensemble")
    if plain == "skd" and "alpha" in hyper:  # one word for both weights; without its flag the script is plain KD
        hyper = {"ce_weight": 1 - float(hyper["alpha"]), "kd_weight": hyper["alpha"], **hyper}
        plain = "skd" if hyper.get("SKD", True) else "kd"
    if plain == "takd" and "lambda" in hyper:
        hyper = {"ce_weight": 1 - float(hyper["lambda"]), "kd_weight": hyper["lambda"], **hyper}
    if plain not in METHODS:
        raise NotInThisVersion(f"method {method!r} is not in this version")
    if plain.startswith("ctkd") and not int(hyper.get("have_mlp", 1)):  # its temperature is not learned
        plain = str(hyper.get("distill", "kd")) + plain.removeprefix("ctkd")
    if plain.startswith("ctkd") and hyper.get("distill") == "dkd" and float(hyper.get("alpha", 0)):
        raise NotInThisVersion("CTKD with both KD's and DKD's terms is a sum of methods, not in this version")
    name, fixed = METHODS[plain]
    constants = dict(TRAJECTORY.get(plain, {})) if trajectory else {}
    constants |= fixed
    words = WORDS[name]
    if name in SCRIPTS:
        own, script = SCRIPTS[name]
        if own & hyper.keys() or (trajectory and not SHORT & hyper.keys()):
            words = script
    for word, value in hyper.items():
        if word in words:
            field, convert = words[word]
            constants[field] = convert(value)
    constants = features.TOGETHER.get(name, dict)(constants)
    if name in FACTORS:
        factor, multiplied = FACTORS[name]
        by = constants.pop(factor)
        constants |= {field: by * constants[field] for field in multiplied}
    return name, constants


def component(term: str) -> str:
    """The `loss_<component>` of a manifest that a term belongs to: one of its own, or `kd` for all that distils."""
    return COMPONENTS.get(term, "kd")


COMPONENTS = {"ce": "ce", "batch": "bc", "class": "cc"}


OTHER_NAMES = {"CE": "ce", "CAT": "kd", "kl": "kd", "div": "kd", "cls": "ce", "ttm": "kd", "wttm": "kd", "dist": "kd"}
"""Components that some scripts name otherwise."""
