"""Methods whose code has changed since runs of them were finished: why a plan trains them again."""

import re
from collections.abc import Iterable

from kdharness.core.records import WantedRun
from kdharness.results.store import Store

_FINISHED = """
SELECT distiller, json_extract(canonical, '$.distiller_revision'), count(*)
FROM studies JOIN study_runs USING (study_id) JOIN runs USING (run_id) JOIN settings USING (setting_key)
WHERE name = :study AND state = 'complete' GROUP BY 1, 2 ORDER BY max(finished_ms)
"""


def changed_methods(store: Store, study: str, runs: Iterable[WantedRun]) -> list[str]:
    """A sentence for each method of the runs that the study, as last run, has finished runs of at other revisions."""
    now = {run.setting.distiller: run.setting.distiller_revision for run in runs}
    before: dict[str, list[tuple[int | str, int]]] = {}
    for distiller, revision, count in store.query(_FINISHED, study=study)[1]:
        if now.get(distiller, revision) != revision:
            before.setdefault(distiller, []).append((revision, count))
    return [
        f"{distiller} changed since (revision {_short(old[-1][0])} → {_short(now[distiller])}): "
        f"{sum(count for _, count in old)} finished runs of it stay in the database under the old revision"
        for distiller, old in before.items()
    ]


def _short(revision: int | str) -> str:
    """A hash by its first eight digits, also within a sum's."""
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{8}\b", r"\1", str(revision))
