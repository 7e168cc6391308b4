"""A printed table against what the store has: for each cell the runs that would reproduce it, and what they say."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kdharness.core.home import Home
from kdharness.core.records import Setting, WantedRun
from kdharness.reporting import statistics
from kdharness.reporting.published.comparison import standard_errors, verdict_of
from kdharness.reporting.published.matching import differences
from kdharness.reporting.published.values import Printed, Registry
from kdharness.results.store import Store
from kdharness.study.expand import Expansion, expand_at
from kdharness.study.load import parse_study
from kdharness.study.printed import PrintedStudy

WORDS = {"compatible": "within", "above": "above", "below": "below"}


@dataclass(frozen=True)
class VerifiedCell:
    """One printed number and our runs of its setting."""

    row: str
    pair: str
    printed: str
    selection: str
    """Which epoch's test accuracy was printed; ours is of the same, or of the last where it is not known."""
    mean: float | None
    std: float | None
    n: int
    wanted: int
    score: float | None
    """The difference in standard errors."""
    verdict: str
    """within, above, below; else why there is none."""
    notes: tuple[str, ...]
    """What contradicts the printed number, and in what ours was trained otherwise."""
    runs: tuple[str, ...]


def expand_printed(study: PrintedStudy, home: Home, data: Path | None = None) -> Expansion:
    """The runs of a study made from print."""
    return expand_at(parse_study(study.text.encode(), f"{study.name}.yaml"), home, data)


def verified(study: PrintedStudy, expansion: Expansion, registry: Registry, store: Store | None) -> list[VerifiedCell]:
    """Every cell of the study, in its order."""
    wanted: dict[tuple[str, str], list[WantedRun]] = {}
    for run in expansion.wanted:
        if run.purpose == "final":
            wanted.setdefault((run.label, run.pair), []).append(run)
    pairs = {given: pair.label for given, pair in zip(study.pairs, expansion.pairs, strict=True)}
    finished = _finished(store, (run.run_id for runs in wanted.values() for run in runs))
    found = []
    for row in study.rows:
        for given, printed in row.printed.items():
            runs = wanted.get((row.label, pairs[given]), [])
            ids = [run.run_id for run in runs]
            otherwise = _otherwise(registry.settled(printed), runs[0].setting) if runs else ""
            selection = registry.selection(printed)
            metric = f"test_top1_{'best' if selection == 'best' else 'last'}"
            values = [finished[run_id][metric] for run_id in ids if metric in finished.get(run_id, {})]
            score = standard_errors(values, printed)
            verdict = verdict_of(score, len(values))
            reason = "no runs yet" if not values else "one run" if len(values) == 1 else "no spread"
            said = WORDS[verdict] if verdict else reason
            if verdict and (otherwise or selection == "unknown"):
                said = "trained otherwise" if otherwise else "epoch not stated"
            found.append(
                VerifiedCell(
                    row.label,
                    pairs[given],
                    printed.text,
                    selection,
                    statistics.mean(values),
                    statistics.std(values),
                    len(values),
                    len(ids),
                    score,
                    said,
                    (*(note.text for note in registry.notes(printed)), *filter(None, [otherwise])),
                    tuple(ids),
                )
            )
    return found


def _otherwise(printed: Printed, setting: Setting) -> str:
    """In what our runs differ from what is known of the printed one; empty: in nothing."""
    found = differences(printed, setting.distiller, dict(setting.recipe), setting.constants)
    return f"trained otherwise: {'; '.join(found)}" if found else ""


def _finished(store: Store | None, run_ids: Iterable[str]) -> dict[str, dict[str, float]]:
    """The metrics of the complete and not excluded ones among the runs."""
    if store is None:
        return {}
    _, rows = store.query(
        "SELECT run_id, name, value FROM metrics JOIN runs USING (run_id) WHERE state = 'complete' "
        "AND value IS NOT NULL AND name IN ('test_top1_last', 'test_top1_best') "
        "AND run_id NOT IN (SELECT run_id FROM exclusions)"
    )
    asked, found = set(run_ids), dict[str, dict[str, float]]()
    for run_id, name, value in rows:
        if run_id in asked:
            found.setdefault(run_id, {})[name] = value
    return found
