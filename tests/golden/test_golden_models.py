"""Every model vector: keys, outputs in both modes, running statistics and gradients equal the reference networks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from vectors import HERE, check_model_vector, fill, roots

from kdharness.core.types import ModelEntry, Outputs
from kdharness.models.registry import MODELS

RTOL = 1e-9
NAMES = {f"ResNet{depth}": f"resnet{depth}_cifar" for depth in (18, 34, 50)}
"""The vectors whose name would be another network's in a registry that ignores case."""
KNOWN = json.loads((HERE / "models" / "state_dicts.json").read_text())["models"]


def entry(name: str) -> ModelEntry:
    return MODELS.get(NAMES.get(name, name))


def ours(name: str) -> bool:
    return NAMES.get(name, name) in MODELS


def files() -> list[Path]:
    return sorted(path for root in roots() for path in (root / "models").glob("*.npz"))


def as_reference(model: torch.nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, object]]:
    """Our named layers in the reference's lists: the stem stands first in both, after its ReLU."""
    outputs: Outputs = model(images)
    names = [name for name in ("stem", *(f"stage{n}" for n in range(1, 20))) if name in outputs.stages]
    feats = [outputs.stages[name] for name in names]
    preact = [outputs.stages.get(f"{name}.preact", outputs.stages[name]) for name in names]
    return outputs.logits, {"feats": feats, "preact_feats": preact, "pooled_feat": outputs.pooled}


def as_listed(features: list[str], shapes: np.ndarray) -> Callable[..., tuple[torch.Tensor, dict[str, object]]]:
    """`as_reference` for references that list no stem, or keep the pooled features as a (B, D, 1, 1) map."""

    def adapter(model: torch.nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
        logits, found = as_reference(model, images)
        lists: dict[str, Any] = dict(found)
        for kind in ("feats", "preact_feats"):
            listed = sum(name.startswith(f"{kind}.") for name in features)
            if len(lists[kind]) == listed + 1:
                lists[kind] = lists[kind][1:]
        if "pooled_feat" in features:
            shape = [int(n) for n in shapes[features.index("pooled_feat")] if n > 0]
            lists["pooled_feat"] = lists["pooled_feat"].reshape(shape)
        return logits, lists

    return adapter


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_equals_the_reference(path: Path) -> None:
    if not ours(path.stem):
        pytest.skip(f"model {path.stem!r} is not in this version")
    with np.load(path) as file:
        classes = file["eval_logits"].shape[1]
        channels, height, width = (int(n) for n in file["input_size"][1:])
        features, shapes = file["feat_names"].tolist(), file["feat_shapes"]
        expected = {"eval_logits", *features} | {name for name in ("train_logits", "grad_norms") if name in file}
    state_dicts = path.parent / "state_dicts.json"
    keys = state_dicts.is_file() and path.stem in json.loads(state_dicts.read_text())["models"]
    model = entry(path.stem).build(classes, (channels, height, width))
    errors = check_model_vector(
        path.stem, model, str(path.parent), adapter=as_listed(features, shapes), rtol=RTOL, keys=keys, verbose=False
    )
    assert expected <= set(errors)
    assert max(errors.values()) < RTOL


def test_every_network_of_the_references_is_here() -> None:
    assert not [name for name in KNOWN if not ours(name)]


@pytest.mark.parametrize("name", ["DeiT_Ti_distilled", "T2T_ViT_7", "pycls_resnet56", "MobileNetV2_tinyimagenet"])
def test_the_largest_logit_of_networks_without_a_vector(name: str) -> None:
    known = KNOWN[name]
    model = entry(name).build(known["num_classes"], tuple(known["input"]))
    fill(model)
    images = torch.from_numpy(np.random.default_rng(0).standard_normal((2, *known["input"])).astype(np.float32))
    with torch.no_grad():
        outputs: Outputs = model.double().eval()(images.double())
    assert float(outputs.logits.abs().max()) == pytest.approx(known["eval_logit_absmax"], rel=RTOL)


@pytest.mark.parametrize("name", list(KNOWN))
def test_keys_shapes_and_size(name: str) -> None:
    with torch.device("meta"):  # neither memory nor time for the weights
        model = entry(name).build(KNOWN[name]["num_classes"], tuple(KNOWN[name]["input"]))
    assert [[key, list(value.shape)] for key, value in model.state_dict().items()] == KNOWN[name]["state_dict"]
    assert sum(parameter.numel() for parameter in model.parameters()) == KNOWN[name]["params"]


# The reference lists the norms that end linear bottlenecks, though no ReLU follows them.
@pytest.mark.parametrize(
    "name", [name for name in KNOWN if KNOWN[name].get("get_bn_before_relu") and name != "MobileNetV2"]
)
def test_the_margin_norms_are_the_references(name: str) -> None:
    with torch.device("meta"):
        model = entry(name).build(100, (3, 32, 32))
    paths = {id(module): path for path, module in model.named_modules()}
    found = [[paths[id(norm)], norm.num_features] for norm in model.batch_norms.values()]
    assert found == KNOWN[name]["get_bn_before_relu"]
