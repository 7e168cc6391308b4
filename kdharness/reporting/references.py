"""The papers behind methods, datasets and printed numbers, as BibTeX."""

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from kdharness.reporting.latex import escape


@cache
def _references() -> Mapping[str, Any]:
    return tomllib.loads(resources.files("kdharness.reporting").joinpath("references.toml").read_text(encoding="utf-8"))


_PRESETS = {
    "hinton2015": "hinton2015distilling", "szegedy2016": "szegedy2016rethinking", "li2023ctkd_dkd": "li2023ctkd",
}  # fmt: skip
"""Presets that are not called as their papers are cited."""


def preset_key(preset: str) -> str:
    """The key of the paper whose constants a preset holds."""
    return _PRESETS.get(preset, preset)


def preset_keys(sources: Iterable[str]) -> list[str]:
    """The papers of the presets among places that constants came from: `preset sun2024logit on cifar100`."""
    words = (source.split() for source in sources)
    return list(dict.fromkeys(preset_key(told[1]) for told in words if told[:1] == ["preset"]))


def known_references() -> frozenset[str]:
    return frozenset(_references()) - {"venues"}


def bibliography(keys: Iterable[str]) -> str:
    """The entries by key, in their order; a key that nothing is known of (a home's own source) is a comment."""
    return "\n".join(_entry(key) if key in known_references() else _unknown(key) for key in sorted(set(keys)))


def _entry(key: str) -> str:
    paper = _references()[key]
    kind, fields = _published(paper["venue"])
    told = {"title": f"{{{paper['title']}}}", "author": " and ".join(paper["authors"]), **fields, "year": paper["year"]}
    lines = [f"  {name} = {{{value if name == 'title' else escape(str(value))}}}," for name, value in told.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}", ""])


def _published(venue: str) -> tuple[str, dict[str, str]]:
    """The kind of an entry, and its fields that say where it appeared."""
    form, _, number = venue.partition(" ")
    if form == "arXiv":
        return "misc", {"eprint": number, "archivePrefix": "arXiv", "howpublished": f"arXiv:{number}"}
    known = _references()["venues"].get(venue)
    if known is None:
        return "techreport", {"institution": venue}
    return ("article" if "journal" in known else "inproceedings"), dict(known)


def _unknown(key: str) -> str:
    return f"% {key}: its paper is not known here; an entry of this key is yours to add\n"
