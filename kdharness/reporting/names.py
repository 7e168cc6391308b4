"""Models, pairs and metrics as papers print them. Pure text: knows no model, so that a report loads no torch."""

import re
from functools import lru_cache

_RULES = (
    (re.compile(r"^wrn_(\d+)_(\d+)$"), r"WRN-\1-\2"),
    (re.compile(r"^(?:pre)?resnet(\d+)x(\d+)$"), r"ResNet\1×\2"),
    (re.compile(r"^resnet(\d+)(?:_cifar|_imagenet)?$"), r"ResNet\1"),
    (re.compile(r"^vgg(\d+)$"), r"VGG\1"),
    (re.compile(r"^mobilenet_?v(\d)(?:_(.+))?$"), r"MobileNet-V\1"),
    (re.compile(r"^shuffle(?:net)?_?v(\d)$"), r"ShuffleNet-V\1"),
    (re.compile(r"^pycls_resnet(\d+)$"), r"ResNet\1"),
    (re.compile(r"^deit_tiny$"), "DeiT-Ti"),
    (re.compile(r"^deit_tiny_distilled$"), "DeiT-Ti (distilled)"),
    (re.compile(r"^pit_tiny$"), "PiT-Ti"),
    (re.compile(r"^pvt_tiny$"), "PVT-Ti"),
    (re.compile(r"^pvtv2_b0$"), "PVTv2-B0"),
    (re.compile(r"^t2t_vit_7$"), "T2T-ViT-7"),
)

_LOWER_IS_BETTER = re.compile(
    r"loss|seconds|_mib|_ms(_|$)|(^|_)(ece|mce|nll|brier|fpr95|error|kl|distance|difference|parameters|multiply)(_|$)"
)
_NO_DIRECTION = re.compile(
    r"(^|_)(entropy|instance_variance|mutual_information|gradient_norm|gradient_variance|logit_mean|logit_std"
    r"|logit_range|zscore_range)(_|$)"
)
"""What describes a student without being better at either end."""

_COUNT = re.compile(r"_(parameters|multiply_adds)(_|$)")
_TIME = re.compile(r"(^|_)(step|batch)_(ms|memory_mib)_(.+)$")
_PERCENT = re.compile(r"_top\d|_(fpr95|error|agreement)(_|$)")
_QUANTITIES = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "loss": "cross-entropy",
    "ece": "ECE",
    "mce": "MCE",
    "nll": "NLL",
    "brier": "Brier score",
    "fpr95": "FPR at 95 % TPR",
    "agreement": "agreement with the teacher",
    "teacher_kl": "KL divergence from the teacher",
}
_COSTS = {
    ("train", "seconds"): "Training time (s)",
    ("train", "extra_parameters"): "Extra parameters",
    ("test", "multiply_adds"): "Multiply-adds",
}
_SPLITS = {"test": "Test", "val": "Validation", "train": "Train"}


@lru_cache(maxsize=1024)
def model(name: str) -> str:
    """`resnet32x4` -> `ResNet32×4`, `wrn_40_2` -> `WRN-40-2`; a name of another form stays."""
    for pattern, form in _RULES:
        if pattern.match(name):
            return pattern.sub(form, name)
    return name


@lru_cache(maxsize=1024)
def pair(name: str) -> str:
    """`resnet20 -> resnet8` -> `ResNet20 → ResNet8`, and either side alone; ensembles keep their `+`."""
    sides = [" + ".join(model(part.strip()) for part in side.split("+")) for side in name.split("->")]
    return " → ".join(sides)


def axis(name: str) -> str:
    """`KD by T.temperature` -> `temperature`, `recipe.batch_size` -> `batch size`."""
    return name.rpartition(".")[2].replace("_", " ")


@lru_cache(maxsize=1024)
def is_percent(metric: str) -> bool:
    """Whether the metric is a part of the images, stored and printed in percent."""
    return _PERCENT.search(metric) is not None


@lru_cache(maxsize=1024)
def decimals(metric: str) -> int:
    """How many digits behind the point are printed."""
    if _COUNT.search(metric):
        return 0
    return 2 if is_percent(metric) or _TIME.search(metric) or metric.endswith("_seconds") else 4


@lru_cache(maxsize=1024)
def has_direction(metric: str) -> bool:
    """Whether one end of its scale is the better one: entropy has none, and no cell of it is best."""
    return _NO_DIRECTION.search(metric) is None


@lru_cache(maxsize=1024)
def lower_is_better(metric: str) -> bool:
    """Whether the smaller value is the better one."""
    return _LOWER_IS_BETTER.search(metric) is not None


def metric(name: str) -> str:
    """`test_top1_last` -> `Test top-1 accuracy (%)`."""
    split, _, rest = name.partition("_")
    what = re.sub(r"_(last|best)$", "", rest)
    if split not in _SPLITS or not what:
        return name
    probe = re.fullmatch("transfer_(.+)_top1", what)
    if probe is not None:
        return f"Linear probe on {probe[1].replace('_', '-')} (%)"
    if (split, what) == ("train", "loss"):
        return "Train loss"  # the weighted sum of a method's terms
    if (split, what) in _COSTS:
        return _COSTS[split, what]
    timed = _TIME.search(name)
    if timed:
        of = "Training step" if timed[2] == "step" else "Inference of a batch"
        return f"{of} ({'ms' if timed[3] == 'ms' else 'MiB'}, {timed[4]})"
    return f"{_SPLITS[split]} {_QUANTITIES.get(what, what.replace('_', ' '))}" + (" (%)" if is_percent(name) else "")


def short_metric(name: str) -> str:
    """What stands above values: `test_top1_last` -> `top-1 (%)`."""
    shorter = metric(name).removeprefix("Test ")
    return shorter.replace("top-1 accuracy", "top-1").replace("top-5 accuracy", "top-5")
