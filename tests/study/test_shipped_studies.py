"""Every study file that is shipped checks and plans; those of the papers ask for the grids that were printed."""

from pathlib import Path

import pytest

from kdharness.core.records import Setting
from kdharness.reporting.published.matching import model_of
from kdharness.reporting.published.values import read_registry
from kdharness.study.expand import Expansion, expand
from kdharness.study.load import load_study
from kdharness.study.plan import make_plan
from kdharness.study.resolve import label_of
from kdharness.study.rows import rows
from kdharness.study.smoke import shrink

STUDIES = Path(__file__).parents[2] / "studies"
FILES = sorted(STUDIES.rglob("*.yaml"))
INDEX = (STUDIES / "papers" / "README.md").read_text()
NOT_HERE = ("kdharness teachers import", "cifar10-jpeg.tar.xz")
"""What a stranger lacks: released teachers, a folder of images."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_study_checks_and_plans(path, tmp_path):
    """Without images, imports or a home; mistakes in the file raise."""
    study = load_study(path)
    assert study.name == path.stem
    expansion = expand(study, data=tmp_path)
    plan = make_plan(expansion, None, slots=1)
    assert plan.runs == plan.to_train > 0
    assert all(any(what in missing for what in NOT_HERE) for missing in plan.missing)
    if path.parent.name == "papers":
        assert f"]({path.name})" in INDEX
    if "-table-" in path.stem:
        assert not unasked(expansion)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_smoke_form_checks_and_plans(path, tmp_path):
    """With every row, every table and nothing that is not here; few and short runs."""
    study = load_study(path)
    expansion = expand(shrink(study), data=tmp_path)
    plan = make_plan(expansion, None, slots=1)
    assert plan.study == f"{path.stem}-smoke" and not plan.missing
    assert 0 < plan.runs <= 50 * len(plan.pairs) and len(plan.pairs) <= 2
    assert {run.setting.recipe.epochs for run in expansion.wanted} == {2}
    assert [row.label for row in plan.rows] == [label_of(row) for row in rows(study.spec)]
    assert len(expansion.study.spec.tables) == len(study.spec.tables)
    assert bool(expansion.study.spec.figures) == bool(study.spec.figures)


def unasked(expansion: Expansion) -> set[tuple[str, str, str]]:
    """(teacher, student, method) of the printed tables that no run of the study is, and no `fill` takes from print."""
    registry, tables = read_registry(), expansion.study.spec.tables
    filled = {row for table in tables for fill in table.fill for row in fill.rows}
    assert filled <= {one.method for table in tables for fill in table.fill for one in registry.table(fill.table)}
    printed = [one for table in tables if table.published is not None for one in registry.table(table.published)]
    wanted = {(one.teacher, one.student, one.method) for one in printed if one.student and one.method not in filled}
    asked = {(model_of(run.teacher), model_of(run.student), printed_name(run.setting)) for run in expansion.wanted}
    return wanted - asked - {("", student, method) for _, student, method in asked}


def printed_name(setting: Setting) -> str:
    """`dkd` with standardized logits is `dkd+ls` in print."""
    name = {"none": "student", "locality": "lg"}.get(setting.distiller, setting.distiller).replace(" ", "")
    return name + ("+ls" if setting.constants.get("standardize") == "zscore" else "")
