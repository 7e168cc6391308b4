"""Imported teachers in the tidy frame: found by the rows that name them, in an ensemble too."""

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
    rows = [SimpleNamespace(run_id="run-1", study="mine", teacher_run_id=ids)]
    found = {row.run_id: row.metrics for row in _imports(rows, store)}  # type: ignore[arg-type]
    expected = {FIRST.id: {"test_top1_last": 97.5}, SECOND.id: {}}
    assert found == {one: metrics for one, metrics in expected.items() if one in ids}
