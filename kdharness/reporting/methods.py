"""Methods as papers print and cite them; knows no distiller, so that a report loads no torch."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any


@cache
def _methods() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(resources.files("kdharness.reporting").joinpath("methods.toml").read_text(encoding="utf-8"))


def known_methods() -> frozenset[str]:
    return frozenset(_methods())


def is_published(name: str) -> bool:
    """Whether a paper stands behind the method, or each part of the sum; a plug-in's has none that is known here."""
    return all(part.strip() in _methods() for part in name.split("+"))


def printed_method(name: str) -> str:
    """`dkd+ls` -> `DKD+LS`; a name that no paper has stays."""
    if name in _methods():
        return _methods()[name]["printed"]
    return "+".join(_methods().get(part.strip(), {}).get("printed", part.strip()) for part in name.split("+"))


def warming_up(constants: Mapping[str, Any], epochs: int) -> str:
    """That a loss has not grown to its weight when the training ends, or nothing. Constants of a sum are nested."""
    parts = [constants, *(part for part in constants.values() if isinstance(part, Mapping))]
    longest = max((part["warmup"] for part in parts if "warmup" in part), default=0)
    if longest <= epochs:
        return ""
    return f"`warmup: {longest}` is longer than the training of {epochs} epochs, the loss never has its whole weight"


def cite_key(name: str) -> str:
    """The key, for `\\cite`, of the paper or papers of a method; empty where there is none."""
    parts = [name] if name in _methods() else [part.strip() for part in name.split("+")]
    return ",".join(filter(None, (_methods().get(part, {}).get("cite", "") for part in parts)))
