"""A bundle's tables made again from the rows in it, and what is not as the bundle says."""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isclose
from pathlib import Path
from typing import Any

import kdharness
from kdharness.core.errors import BadInput, EnvironmentRefused, KdHarnessError
from kdharness.core.home import Home
from kdharness.reporting import statistics
from kdharness.reporting.manifest import manifest
from kdharness.reporting.render import render
from kdharness.results.backup import look_into
from kdharness.results.database import version_of
from kdharness.results.store import Store
from kdharness.runtime.bundle_file import DATABASE, STUDY_TEXT, TABLES, Opened, open_bundle, read_json
from kdharness.runtime.reports import study_tables

_NOT_OURS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What reading rows may raise that no version of the store has written."""

TOLERANCE = 1e-9
"""Relative, for what another scipy may round otherwise: intervals and tests."""

_EXACT = ("mean", "std", "values")
"""Fields of a cell whose rounding is fixed."""

_SENTENCES = ("caption", "footnotes", "missing", "notes")
"""Fields of tables and cells that every version of kdharness may put in its own words."""

_ENDS = """
SELECT final.run_id, final.name, final.value, curve.value FROM metrics AS final
JOIN epoch_metrics AS curve ON curve.run_id = final.run_id AND final.name = curve.name || '_last'
WHERE curve.epoch = (SELECT max(epoch) FROM epoch_metrics WHERE run_id = curve.run_id AND name = curve.name)
AND final.value IS NOT curve.value
UNION ALL
SELECT final.run_id, final.name, final.value, max(curve.value) FROM metrics AS final
JOIN epoch_metrics AS curve ON curve.run_id = final.run_id AND final.name = curve.name || '_best'
GROUP BY final.run_id, final.name HAVING final.value IS NOT max(curve.value)
ORDER BY 1, 2
"""
"""Final numbers that are not the last or the largest of their curves."""

_KEY = ("panel", "row", "column", "metric")


@dataclass(frozen=True)
class Checked:
    """One cell of a table, or what stands around its cells, as the bundle has it and as its rows give it."""

    table: str
    row: str
    column: str
    """Both empty: heads, caption and notes of the table; the table empty too: the rows themselves."""
    text: str
    """`96.02 ± 0.42 (3)`, from the rows."""
    differences: tuple[str, ...]
    worded: tuple[str, ...] = ()
    """Sentences and their marks that the version which wrote the bundle had otherwise; no number is among them."""

    @property
    def equal(self) -> bool:
        return not self.differences


@dataclass(frozen=True)
class Verification:
    """What came of verifying a bundle."""

    study: str
    sha256: str
    """Of the file: what its author can print."""
    version: str
    """Of the kdharness that wrote it."""
    runs: int
    checked: tuple[Checked, ...]

    @property
    def equal(self) -> bool:
        return all(one.equal for one in self.checked)


def verify_bundle(path: Path) -> Verification:
    """Make every cell again from the bundle's rows. Raises BadInput for a file that is no whole bundle."""
    with tempfile.TemporaryDirectory(prefix="kdharness-bundle-") as folder:
        opened = open_bundle(path, Path(folder))
        try:
            return _verify(opened)
        except EnvironmentRefused as error:
            if error.remedy == statistics.MISSING:
                raise
            raise BadInput(f"its rows are not whole: {error.what}", where=str(path)) from error
        except KdHarnessError as error:
            raise BadInput(error.what, where=str(path), remedy=error.remedy) from error
        except _NOT_OURS as error:
            what = " ".join(str(error).split())[:200]
            raise BadInput(
                f"its rows are not those of a study ({type(error).__name__}: {what})", where=str(path)
            ) from error


def _verify(opened: Opened) -> Verification:
    home, said = Home(opened.folder), opened.manifest
    kept = _tables_of(read_json((opened.folder / TABLES).read_bytes(), TABLES))
    if version_of(home.results) is None:
        raise BadInput(f"its {DATABASE} is empty")
    _bring_up(home)
    problems = look_into(home.results)
    if problems:
        raise BadInput(f"its {DATABASE} is damaged: {problems[0]}")
    store = Store(home, read_only=True)
    try:
        tables = study_tables(store, [said.study])
        digests = store.digests(said.study)
        texts = {STUDY_TEXT.format(number=text.number): text.text for text in store.texts(said.study)}
        curves = list(_curves(store))
    finally:
        store.close()
    again = _tables_of(json.loads(render(tables, "json")))
    if any(table["missing"] for table in again) and not any(table["missing"] for table in kept):
        raise EnvironmentRefused("the bundle's tables have intervals and tests", remedy=statistics.MISSING)
    sentences = _SENTENCES if said.kdharness != kdharness.__version__ else ()
    checked = [one for old, new in _pairs(kept, again) for one in _table(old, new, sentences)]
    wrong = [f"the text {name} is not the one that its rows have" for name in _other_texts(opened, texts)]
    wrong += _hashes(said.runs, {run: asdict(digest) for run, digest in digests.items()})
    wrong += curves
    now = json.loads(json.dumps(manifest(tables, digests)["tables"]))
    wrong += [f"the manifest's {difference}" for difference in _differences(said.tables, now, "tables")]
    checked.append(Checked("", "", "", f"{len(digests)} runs", tuple(wrong)))
    return Verification(said.study, opened.sha256, said.kdharness, len(digests), tuple(checked))


def _bring_up(home: Home) -> None:
    """Rows that an older version wrote are brought to this version's form, in the private copy."""
    from kdharness.migrations import HEAD

    if version_of(home.results) != HEAD:
        Store(home, create=True).close()


def _tables_of(said: Any) -> list[dict[str, Any]]:
    """Raises BadInput where it is not what `render` writes."""
    tables = said.get("tables") if isinstance(said, dict) else None
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise BadInput(f"its {TABLES} has no tables")
    for table in tables:
        cells = table.get("cells")
        if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
            raise BadInput(f"a table of its {TABLES} has no cells")
    return tables


def _pairs(
    kept: Sequence[dict[str, Any]], again: Sequence[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Tables of both sides in order; where one side has fewer, a table without cells stands there."""
    for index in range(max(len(kept), len(again))):
        old = kept[index] if index < len(kept) else {"title": again[index]["title"], "cells": []}
        new = again[index] if index < len(again) else {"title": old.get("title"), "cells": []}
        yield old, new


def _table(old: Mapping[str, Any], new: Mapping[str, Any], sentences: Sequence[str]) -> Iterator[Checked]:
    title = str(new.get("title"))
    olds, news = ({tuple(map(str, map(cell.get, _KEY))): cell for cell in one["cells"]} for one in (old, new))
    for key in {**news, **olds}:
        before, after = olds.get(key), news.get(key)
        if before is None or after is None:
            differences = ["only in the bundle's table" if after is None else "not in the bundle's table"]
        else:
            differences = list(_differences(before, after))
        yield Checked(title, key[1], _column(key), _text(after or {}), *_apart(differences, sentences))
    if len(olds) != len(old["cells"]):
        yield Checked(title, "", "", "", ("a cell stands twice in the bundle's table",))
    around = [{name: value for name, value in one.items() if name != "cells"} for one in (old, new)]
    yield Checked(title, "", "", "", *_apart(list(_differences(around[0], around[1])), sentences))


def _apart(differences: Sequence[str], sentences: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of other fields, and those of the sentences."""
    worded = tuple(one for one in differences if re.split(r"\W", one, maxsplit=1)[0] in sentences)
    return tuple(one for one in differences if one not in worded), worded


def _column(key: tuple[str, ...]) -> str:
    panel = "" if key[0] == "None" else f" ({key[0]})"
    return key[2] + panel


def _text(cell: Mapping[str, Any]) -> str:
    if cell.get("mean") is None:
        return ""
    spread = f" ± {cell['std']:.4g}" if cell.get("std") is not None else ""
    return f"{cell['mean']:.6g}{spread} ({cell['n']}/{cell['wanted']})"


def _differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """Where two JSON values differ: `mean: 97.0 in the bundle, 96.02 from its rows`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old:  # a newer version may say more
            yield from _differences(old[key], new.get(key), f"{name}.{key}" if name else str(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(one, other, f"{name}[{index}]")
    elif not _same(old, new, name.startswith(_EXACT)):
        yield f"{name}: {_short(old)} in the bundle, {_short(new)} from its rows"


def _same(old: Any, new: Any, exactly: bool) -> bool:
    if isinstance(old, float) and isinstance(new, float) and not exactly:
        return isclose(old, new, rel_tol=TOLERANCE, abs_tol=1e-300)
    return type(old) is type(new) and bool(old == new)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _other_texts(opened: Opened, texts: Mapping[str, str]) -> list[str]:
    files = {name for name in opened.manifest.members if name.startswith("study/")}
    return sorted(
        name
        for name in files | set(texts)
        if name not in files or name not in texts or (opened.folder / name).read_bytes() != texts[name].encode()
    )


def _hashes(kept: Mapping[str, Mapping[str, Any]], again: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"run {run_id}: its {name} is not the manifest's"
        for run_id, digest in kept.items()
        for name, value in digest.items()
        if run_id not in again or again[run_id].get(name) != value
    ]


def _curves(store: Store) -> Iterator[str]:
    """Where a final number is not the end or the best of its curve."""
    _, rows = store.query(_ENDS)
    for run_id, name, value, of_curve in rows:
        yield f"run {run_id}: {name} is {value}, its curve says {of_curve}"
