"""Imported teachers in the tidy frame: found by the rows that name them, in an ensemble too."""

import math
from types import SimpleNamespace

import pytest

from kdharness.results.frame import _imports
from kdharness.results.records import ImportedTeacher

FIRST, SECOND, OTHER = (
    ImportedTeacher(name, "resnet20", "digits", letter * 64, None, top1, None, f"teachers/{name}", None)
    for name, letter, top1 in (("first", "a", 97.5), ("second", "b", None), ("other", "c", 90.0))
)


@pytest.mark.parametrize("ids", [f"{FIRST.id} + {SECOND.id}", f"run-0 + {FIRST.id}"])
def test_each_import_of_an_ensemble_is_a_row(ids: str) -> None:
    store = SimpleNamespace(imported_teachers=lambda: [FIRST, SECOND, OTHER])
    parts = [{"run_id": ["run-1"], "study": ["mine"], "teacher_run_id": [ids]}]
    columns = _imports(parts, store)  # type: ignore[arg-type]
    found = dict(zip(columns["run_id"], columns["test_top1_last"], strict=True))
    expected = {FIRST.id: 97.5, SECOND.id: pytest.approx(math.nan, nan_ok=True)}
    assert found == {one: top1 for one, top1 in expected.items() if one in ids}
