"""A manifest names, for every cell, the runs that it is made of, and each run once with its hashes."""

import json
from dataclasses import dataclass

from kdharness.core.records import TableSpec
from kdharness.reporting.manifest import manifest
from kdharness.reporting.tables import build_table

from .frames import quickstart


@dataclass(frozen=True)
class Digest:
    results_sha256: str


def test_every_cell_names_its_runs_and_every_run_its_hashes() -> None:
    table = build_table(quickstart(), TableSpec(baseline="kd"))
    digests = {run: Digest(run[::-1]) for run in {*quickstart()["run_id"], "another-run"}}
    told = manifest([table], digests)
    assert json.loads(json.dumps(told)) == told
    (one,) = told["tables"]
    assert [cell["row"] for cell in one["cells"]] == ["none", "kd", "dkd", "KD+LS", "luminet", "fitnet"]
    cell, shown = one["cells"][1], table.cells[1, 0]
    assert (cell["mean"], cell["n"], tuple(cell["runs"])) == (shown.mean, 3, shown.wanted_runs)
    assert one["teachers"] == [
        {"pair": "resnet20 -> resnet8", "accuracy": 98.06, "runs": ["teacher-digits-resnet20-0"]}
    ]
    named = {run for cell in one["cells"] for run in cell["runs"]} | {"teacher-digits-resnet20-0"}
    assert set(told["runs"]) == named and told["runs"][cell["runs"][0]] == {"results_sha256": cell["runs"][0][::-1]}
