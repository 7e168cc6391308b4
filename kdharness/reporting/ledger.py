"""How many settings of each row had their test score revealed: whoever picks the best of several flatters himself."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kdharness.reporting.runs import Columns, columns_of

if TYPE_CHECKING:
    import pandas as pd

Ledger = Mapping[tuple[str, str, str], int]
"""How many settings had their test score revealed, by whichever study, by dataset, pair and distiller."""

Tried = Mapping[str, int]
"""The same by the label of a row, on the pair with the most."""


def tried(frame: "pd.DataFrame | Columns", ledger: Ledger) -> dict[str, int]:
    """Of the rows of a whole frame: what stands in another row of the same method was not tried for this one."""
    columns = columns_of(frame)
    names = ("dataset", "pair", "distiller", "label", "setting_key", "purpose", "state")
    methods: dict[tuple[str, str, str], dict[str, set[str]]] = {}
    for dataset, pair, distiller, label, setting, purpose, state in zip(
        *(columns[name] for name in names), strict=True
    ):
        if purpose == "final" and state == "complete" and distiller != "none":
            methods.setdefault((dataset, pair, distiller), {}).setdefault(label, set()).add(setting)
    found: dict[str, int] = {}
    for method, rows in methods.items():
        settings = set().union(*rows.values())
        for label, own in rows.items():
            others = settings - own
            found[label] = max(found.get(label, 0), ledger.get(method, 0) - len(others))
    return found
