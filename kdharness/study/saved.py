"""What of a study is kept in the database beside its text and its runs: all that reports need of the file."""

from typing import Any

from kdharness.study.load import Study
from kdharness.study.resolve import known_pair

KEPT = {"about", "dataset", "evaluate", "tables", "figures", "paired"}


def saved_form(study: Study) -> dict[str, Any]:
    """As plain values. The pairs of figures stand by their listed names, as those of runs do."""
    form = study.spec.model_dump(mode="json", exclude_none=True, include=KEPT)
    for figure in form["figures"]:
        pair = known_pair(figure.get("pair", ""), study.spec.dataset_name)
        figure |= {"pair": pair.label} if pair is not None else {}
    if study.smoke is not None:
        form["smoke"] = study.smoke.model_dump()
    return form
