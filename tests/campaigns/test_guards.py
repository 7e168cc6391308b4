"""What `make guards` takes out is there to be taken out, and the tool sees a test turn red and one stay green."""

from pathlib import Path

import pytest
from guards import GUARDS, ROOT, Guard, is_missed, without

HASH = next(guard for guard in GUARDS if guard.name == "the hash")


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_and_its_test_are_there(guard: Guard) -> None:
    assert (ROOT / guard.file).read_text().count(guard.old) == 1
    file, _, test = guard.test.partition("::")
    assert f"def {test}(" in (ROOT / file).read_text()


@pytest.mark.parametrize(("new", "missed"), [("return False", True), ("return True", False)])
def test_red_and_green(tmp_path: Path, new: str, missed: bool) -> None:
    (tmp_path / "rule.py").write_text("def rule():\n    return 1 == 1\n")
    (tmp_path / "test_rule.py").write_text("from rule import rule\n\n\ndef test_rule():\n    assert rule()\n")
    ran = without(tmp_path, Guard("rule", "rule.py", "return 1 == 1", new, "test_rule.py::test_rule"))
    assert is_missed(ran) == missed
    assert ("1 failed" if missed else "1 passed") in ran.said and ran.seconds > 0
    assert (tmp_path / "rule.py").read_text() == "def rule():\n    return 1 == 1\n"
