"""Where the golden vectors lie and how they are read; shared by the runners of this folder."""

import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Vector:
    """One entry of a manifest and the arrays of its file."""

    folder: Path
    entry: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.entry["file"]).removesuffix(".npz")

    @property
    def method(self) -> str:
        return str(self.entry["method"])

    @property
    def hyper(self) -> dict[str, Any]:
        return dict(self.entry.get("hyper") or {})

    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / self.entry["file"], allow_pickle=False) as file:
            return {key: file[key] for key in file}


def roots() -> list[Path]:
    """This folder, and `$GOLDEN_DIR` with the same layout."""
    more = os.environ.get("GOLDEN_DIR")
    return [HERE] + ([Path(more)] if more else [])


def vectors(kind: str) -> list[Any]:
    """One test parameter per manifest entry of `logit`, `feature` or `trajectory` that is not an input of others."""
    found = []
    for root in roots():
        manifest = root / kind / "manifest.json"
        if not manifest.is_file():
            continue
        for entry in json.loads(manifest.read_text())["files"]:
            if entry.get("method") and entry.get("role") != "input":
                vector = Vector(manifest.parent, entry)
                found.append(pytest.param(vector, id=vector.name if root == HERE else f"more-{vector.name}"))
    return found


def _load_fill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_fill", HERE / "models" / "fill.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_FILL = _load_fill()
fill: Callable[..., Any] = _FILL.fill
"""Fill a module's state_dict by the rule of `models/README.md`, in place."""
check_model_vector: Callable[..., dict[str, float]] = _FILL.check


def close(got: torch.Tensor, want: np.ndarray, rtol: float, atol: float) -> None:
    """Elementwise, as numpy compares: |got - want| <= atol + rtol |want|."""
    np.testing.assert_allclose(got.detach().double().numpy(), np.asarray(want, np.float64), rtol=rtol, atol=atol)


def close_to_scale(got: torch.Tensor, want: np.ndarray, rtol: float, atol: float) -> None:
    """As `close`, but relative to the largest entry of the array."""
    scale = float(np.abs(want).max(initial=0.0))
    close(got, want, rtol=0.0, atol=atol + rtol * scale)
