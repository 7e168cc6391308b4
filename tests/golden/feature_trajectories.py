"""What a trajectory of a feature distiller stores besides losses and states, and how its run starts."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from vectors import fill

from kdharness.core.types import Outputs
from kdharness.training.step import TrainingRun

Arrays = Mapping[str, np.ndarray]
STORED = r"|memory_v\d_(init|end_rowsum|end_rows_dot_index)|Z|margin\d+|pred_var\d+|eval_logits_own_head"
"""Arrays of these methods' files, as an alternative of a regular expression."""


def started(run: TrainingRun, want: Arrays) -> dict[str, Tensor]:
    """The adapters' state at the start: what the file gives, the rest as built."""
    state = run.adapters.state_dict()
    given = {key.removeprefix("param/"): value for key, value in want.items() if key.startswith("param/")}
    given |= {key.removesuffix("_init"): value for key, value in want.items() if key.endswith("_init")}
    for key, value in want.items():
        if key.startswith("pred_var"):  # the variance 1e-5 + log(1 + exp(g)) that stays: g of it
            given[f"log_scales.{key.removeprefix('pred_var')}"] = np.log(np.expm1(value.astype(np.float64) - 1e-5))
    return state | {key: torch.from_numpy(np.array(value)) for key, value in given.items()}


def fix_draws(run: TrainingRun, k: int, index: Tensor) -> None:
    """CRD's negatives of step k as the README draws them."""
    if hasattr(run.distiller, "columns"):
        others = torch.from_numpy(np.random.default_rng([77, k]).integers(0, 79, (8, 16)))
        columns = torch.cat((index[:, None], others + (others >= index[:, None])), dim=1)
        run.distiller.columns = lambda batch: columns


def at_the_end(run: TrainingRun, want: Arrays, own_head: Callable[[], Tensor]) -> dict[str, Any]:
    """The method's own arrays after the last step; `own_head` gives the student's own logits in eval mode."""
    state = run.adapters.state_dict()
    got: dict[str, Any] = {}
    for name in want:
        if name.startswith("memory_v"):
            bank, _, what = name.partition("_end_")
            bank = state[bank.removesuffix("_init")]
            columns = torch.arange(1, bank.shape[1] + 1, dtype=bank.dtype)
            got[name] = {"rowsum": bank.sum(1), "rows_dot_index": bank @ columns}.get(what, want[name])
        elif name == "Z" or name.startswith("margin"):
            got[name] = state[name]
        elif name.startswith("pred_var"):
            got[name] = nn.functional.softplus(state[f"log_scales.{name.removeprefix('pred_var')}"]) + 1e-5
        elif name == "eval_logits_own_head":
            got[name] = own_head()
    return got


CONVERTED = {"conv_test.weight": "fc.weight"}
"""CAT-KD's files hold networks whose classifier is a convolution without bias."""


def convert(network: nn.Module) -> None:
    """Fill the classifier as the converted network's is; the bias, which nothing reads there, becomes 0."""
    state = network.state_dict()
    for name, ours in CONVERTED.items():
        filled = fill({name: torch.zeros(*state[ours].shape, 1, 1)})[name]
        state[ours].copy_(filled[:, :, 0, 0])
    state["fc.bias"].zero_()


def without_bias(outputs: Outputs, network: nn.Module) -> Tensor:
    """The converted network's logits."""
    return outputs.pooled @ network.state_dict()["fc.weight"].T


def converted(got: dict[str, Any], want: Arrays) -> dict[str, Any]:
    """What the run gave by names of the networks of the zoo, in the file's names and order."""
    found = dict(got)
    for listed, belong in (
        ("state_keys", [name for name in got if name.startswith("state_0") or name[-2:] in ("25", "50")]),
        ("grad_keys", ["grad_l2_first", "grad_is_none_first"]),
    ):
        names = list(got[listed])
        order = [names.index(CONVERTED.get(str(name), str(name))) for name in want[listed]]
        found[listed] = [str(name) for name in want[listed]]
        found |= {name: np.asarray(got[name])[order] for name in belong}
    tensors, numbers = got["optimizer_tensors_numel"]
    return found | {"optimizer_tensors_numel": (tensors - 1, numbers - got["eval_logits"].shape[1])}
