"""Every model vector: keys, outputs in both modes, running statistics and gradients equal the reference networks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from vectors import check_model_vector, roots

from kdharness.core.types import Outputs
from kdharness.models.registry import MODELS

RTOL = 1e-9


def files() -> list[Path]:
    return sorted(path for root in roots() for path in (root / "models").glob("*.npz"))


def as_reference(model: torch.nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, object]]:
    """Our named layers in the reference's lists: the stem stands first in both, after its ReLU."""
    outputs: Outputs = model(images)
    names = [name for name in ("stem", *(f"stage{n}" for n in range(1, 10))) if name in outputs.stages]
    feats = [outputs.stages[name] for name in names]
    preact = [outputs.stages.get(f"{name}.preact", outputs.stages[name]) for name in names]
    return outputs.logits, {"feats": feats, "preact_feats": preact, "pooled_feat": outputs.pooled}


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_equals_the_reference(path: Path) -> None:
    if path.stem not in MODELS:
        pytest.skip(f"model {path.stem!r} is not in this version")
    with np.load(path) as file:
        classes = file["eval_logits"].shape[1]
        channels, height, width = (int(n) for n in file["input"].shape[1:])
    state_dicts = path.parent / "state_dicts.json"
    keys = state_dicts.is_file() and path.stem in json.loads(state_dicts.read_text())["models"]
    model = MODELS.get(path.stem).build(classes, (channels, height, width))
    errors = check_model_vector(
        path.stem, model, str(path.parent), adapter=as_reference, rtol=RTOL, keys=keys, verbose=False
    )
    assert {"eval_logits", "train_logits", "train_bn", "grad_norms", "feats.3", "preact_feats.3", "pooled_feat"} <= set(
        errors
    )
    assert max(errors.values()) < RTOL


def test_the_keys_of_every_network_of_the_zoo() -> None:
    known = json.loads((roots()[0] / "models" / "state_dicts.json").read_text())["models"]
    checked = 0
    for name in MODELS:
        if name in known:
            model = MODELS.get(name).build(100, (3, 32, 32))
            assert [[key, list(value.shape)] for key, value in model.state_dict().items()] == known[name]["state_dict"]
            checked += 1
    assert checked >= 9
