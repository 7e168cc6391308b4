"""A user's own printed numbers: read alone, checked, and kept beside the package's."""

import json
from pathlib import Path

from kdharness.core.errors import BadInput
from kdharness.reporting.published.checks import problems
from kdharness.reporting.published.values import SELECTIONS, Registry, Selection, Source, read_registry, read_values


def read_alone(file: Path) -> Registry:
    """The file's numbers without any others. Raises BadInput where it cannot be read."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot be read: {error}", where=str(file)) from error
    values = read_values(text, str(file))
    sources = {one.source: Source(one.source, one.source, one.source, "unknown", "not stated") for one in values}
    return Registry(tuple(values), sources, ())


def add_values(
    file: Path, folder: Path, *, paper: str, selection: str, cite: str | None = None, replace: bool = False
) -> Path:
    """Keep the file's numbers, all of one source, in `folder`; the path of what was written.

    Raises BadInput for a file that has problems, names several sources or one that is known already.
    """
    alone = read_alone(file)
    known = [name for name in SELECTIONS if name == selection]
    if not known:
        raise BadInput(f"unknown selection {selection!r}", remedy="It is one of: " + ", ".join(SELECTIONS))
    found = problems(alone)
    if found:
        raise BadInput("\n".join(found), where=str(file))
    names = sorted(alone.sources)
    if len(names) != 1 or not names[0].replace("_", "").replace("-", "").isalnum():
        raise BadInput(f"a file holds one source with a plain name, not {', '.join(names) or 'none'}", where=str(file))
    path = folder / f"{names[0]}.csv"
    if names[0] in read_registry().sources:
        raise BadInput(f"{names[0]} is a source of the package", where=str(file), remedy="Give yours another name.")
    if path.exists() and not replace:
        raise BadInput(
            f"{names[0]} was added already", where=str(path), remedy="--replace puts the new file in its place"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".toml").write_text(_about(names[0], paper, cite or names[0], known[0]), encoding="utf-8")
    path.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    return path


def _about(name: str, paper: str, cite: str, selection: Selection) -> str:
    """A TOML table; its strings are written as JSON's, which are TOML's too."""
    values = {"paper": paper, "cite": cite, "selection": selection, "evidence": "as its user says"}
    return f"[{json.dumps(name)}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
