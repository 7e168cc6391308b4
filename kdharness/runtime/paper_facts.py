"""What a paper says of studies besides their tables, read from the store: setup, settings, hours, papers, hashes."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import kdharness
from kdharness.core.records import Recipe
from kdharness.reporting.comparing import ENOUGH
from kdharness.reporting.manifest import manifest
from kdharness.reporting.methods import cite_key, is_published
from kdharness.reporting.paper.compute import Span
from kdharness.reporting.paper.settings import Constants
from kdharness.reporting.paper.setup_paragraph import Setup, Trained
from kdharness.reporting.references import preset_keys
from kdharness.results.encoding import restore
from kdharness.results.records import StudyAttempt
from kdharness.results.store import Store
from kdharness.runtime import provenance
from kdharness.study.describe import Described

if TYPE_CHECKING:
    import pandas as pd

    from kdharness.reporting.published.values import Registry
    from kdharness.reporting.table import Table


def setup(
    store: Store,
    studies: Sequence[str],
    frame: "pd.DataFrame",
    tables: Sequence["Table"],
    tried: Sequence[StudyAttempt],
) -> Setup:
    """What the setup paragraph says; `tried` are the studies' attempts."""
    rows = frame.to_dict("records")
    finals = [row for row in rows if row["purpose"] == "final"]
    teachers = [row for row in rows if row["purpose"] == "teacher"]
    devices = {row["run_id"]: row["device"] for row in rows if row["state"] == "complete" and row["device"]}
    done = [one.attempt for one in tried if one.attempt.outcome == "complete"]
    gpus = any(not device.startswith("cpu") for device in devices.values())
    commits = {one.commit for one in done}
    cells = [cell for table in tables for cell in table.cells.values()]
    return Setup(
        datasets=tuple(dict.fromkeys(row["dataset"] for row in rows)),
        students=tuple(
            dict.fromkeys(Trained(row["label"], row["student"], restore(Recipe, row["recipe"])) for row in finals)
        ),
        teachers=tuple(dict.fromkeys(restore(Recipe, row["recipe"]) for row in teachers if row["recipe"])),
        imported=tuple(row["student"] for row in teachers if row["distiller"] == "imported"),
        seeds=tuple(sorted({row["seed"] for row in finals})),
        paired=all(store.study(study).spec.get("paired", False) for study in studies),
        selects=tuple(dict.fromkeys(table.select for table in tables)),
        spreads=tuple(dict.fromkeys(table.pm for table in tables)),
        tested=any(cell.p_value is not None and cell.n >= ENOUGH for cell in cells),
        plugins=tuple(dict.fromkeys(row["distiller"] for row in finals if _is_plugin(row["distiller"]))),
        searches=tuple(one.spec for study in studies for one in store.searches(study) if one.asked),
        devices=Counter(devices.values()),
        versions={
            printed: tuple(sorted({one.versions[name] for one in done if name in one.versions}))
            for name, printed in _SOFTWARE.items()
            if (gpus or name != "cuda") and any(name in one.versions for one in done)
        },
        commit=commits.pop() if len(commits) == 1 else None,
    )


def _is_plugin(distiller: str) -> bool:
    return distiller != "none" and not is_published(distiller)


_SOFTWARE = {"kdharness": "kdharness", "torch": "PyTorch", "numpy": "NumPy", "python": "Python", "cuda": "CUDA"}


def constants(described: Mapping[str, Sequence[Described]]) -> Iterator[tuple[str, list[Constants]]]:
    """The parts of the settings appendix with what stands in them."""
    for title, purpose in (("", "final"), ("Teachers and assistants", "teacher")):
        rows = [(study, one) for study, those in described.items() for one in those if one.purpose == purpose]
        yield title, [_constants(one, f"{study}: " if len(described) > 1 else "") for study, one in rows]


def _constants(one: Described, prefix: str) -> Constants:
    searched = " of a search" if one.purpose == "teacher" and one.values["validation"] else ""
    label = f"{prefix}{one.label}{searched}"
    return Constants(label, one.pair, str(one.values["distiller"]), one.values, one.provenance, one.axes)


def spans(store: Store, studies: Sequence[str], tried: Sequence[StudyAttempt]) -> list[Span]:
    """When devices worked for the studies, attempt by attempt."""
    purposes = {
        row.run_id: row.purpose for study in studies for row in sorted(store.rows(study), key=lambda row: row.purpose)
    }
    known = {(one.attempt.owner.host, one.attempt.slot): one.attempt.device for one in tried if one.attempt.device}
    found = []
    for one in {(one.run_id, one.attempt.number): one for one in tried}.values():
        attempt, place = one.attempt, (one.attempt.owner.host, one.attempt.slot)
        kind = _KIND[purposes[one.run_id]] if one.asked else "dropped"
        device = attempt.device or known.get(place) or "a device not known"
        until = one.until or attempt.claimed
        found.append(
            Span(
                place=f"{place[0]} {place[1].partition('#')[0]}",
                device=device,
                kind="no result" if attempt.outcome in _NO_RESULT else kind,
                since=attempt.claimed.timestamp(),
                until=until.timestamp(),
                threads=int(attempt.numerics.get("threads", 1)) if device.startswith("cpu") else 1,
            )
        )
    return found


def remarks(studies: Sequence[str], tried: Sequence[StudyAttempt]) -> Iterator[str]:
    """What must be said of the hours."""
    if any(one.attempt.outcome == "lost" or one.attempt.reason == "killed" for one in tried):
        yield "An attempt that died counts until its last finished epoch."
    others = {one.run_id for one in tried if one.origin not in studies}
    if others:
        yield f"{len(others)} of the runs were trained for other studies and count here in full."
    dropped = {one.run_id for one in tried if not one.asked}
    if dropped:
        yield f"Dropped: runs of an earlier version of a study that none asks for now ({len(dropped)})."


_NO_RESULT = ("failed", "diverged", "lost", "cancelled")
_KIND = {"teacher": "teachers", "search": "search", "final": "final runs"}


ASSISTANTS = "mirzadeh2020takd"
"""Who taught through assistants first."""


def cited(frame: "pd.DataFrame", tables: Sequence["Table"], registry: "Registry | None") -> set[str]:
    """The keys of the papers of the rows, of the presets that constants come from, and of printed numbers."""
    keys = {cite_key(distiller) for distiller in frame["distiller"]}
    keys |= {ASSISTANTS} if any("taught by" in (departs or "") for departs in frame["departs"]) else set()
    keys |= {head.cite for table in tables for head in (*table.rows, *table.columns)}
    keys |= set(preset_keys(source for sources in frame["sources"] for source in sources))
    printed = {filled.source for table in tables for filled in table.filled.values()}
    printed |= {cell.beside.source for table in tables for cell in table.cells.values() if cell.beside is not None}
    if registry is not None:
        keys |= {registry.sources[name].cite for name in printed}
    return {key for listed in keys for key in listed.split(",") if key}


@dataclass(frozen=True)
class _Hashes:
    """What the manifest says of a run."""

    seed: int
    state: str
    weights_sha256: str | None
    teacher_sha256: str | None
    device: str | None
    numerics_key: str | None


def about(
    store: Store,
    studies: Sequence[str],
    frame: "pd.DataFrame",
    tables: Mapping[str, "Table"],
    tried: Sequence[StudyAttempt],
    *,
    anonymous: bool,
) -> dict[str, Any]:
    """The manifest: who wrote it, of which texts, and what stands behind each cell."""
    names = [one.name for one in fields(_Hashes)]
    rows = frame[["run_id", *names]].astype(object).where(frame[["run_id", *names]].notna(), None).to_dict("records")
    told = manifest(list(tables.values()), {row["run_id"]: _Hashes(*(row[name] for name in names)) for row in rows})
    numerics = {one.attempt.numerics_key: one.attempt.numerics for one in tried if one.attempt.numerics_key}
    commits = sorted({one.attempt.commit for one in tried if one.attempt.commit})
    return {
        "kdharness": {"version": kdharness.__version__, **({} if anonymous else {"commit": provenance.commit()})},
        **({} if anonymous else {"run_commits": commits}),
        "studies": {
            study: {"sha256": hashlib.sha256(store.study(study).text.encode()).hexdigest()} for study in studies
        },
        "numerics": {key: dict(sorted(numerics[key].items())) for key in sorted(numerics)},
        "tables": dict(zip(tables, told["tables"], strict=True)),
        "runs": told["runs"],
    }
