"""A directory that is written again and again: only what is ours is ever replaced or removed."""

import json

import pytest

from kdharness.core.errors import BadInput
from kdharness.runtime.owned_files import write_owned


def there(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_ours_is_replaced_and_what_is_no_longer_written_goes(tmp_path):
    (tmp_path / "paper.tex").write_text("mine")
    write_owned(tmp_path, {"a.tex": b"1", "tables/b.tex": b"2"}, {"about": "x"})
    paths = write_owned(tmp_path, {"a.tex": b"3"}, {"about": "y"})
    assert [path.name for path in paths] == ["a.tex", "manifest.json"]
    found = there(tmp_path)
    assert found.keys() == {"a.tex", "manifest.json", "paper.tex"} and found["a.tex"] == b"3"
    assert json.loads(found["manifest.json"])["about"] == "y"


@pytest.mark.parametrize("edited", [False, True])
def test_what_is_not_ours_is_in_the_way_and_nothing_is_written(tmp_path, edited):
    if edited:
        write_owned(tmp_path, {"a.tex": b"1", "b.tex": b"1"}, {})
    (tmp_path / "a.tex").write_text("my own words")
    before = there(tmp_path)
    with pytest.raises(BadInput, match="a.tex: changed since" if edited else "a.tex: there already"):
        write_owned(tmp_path, {"a.tex": b"2", "b.tex": b"2"}, {})
    with pytest.raises(BadInput, match=r"a\.tex") if edited else pytest.raises(BadInput):
        write_owned(tmp_path, {"b.tex": b"2"} if edited else {"a.tex": b"2"}, {})  # nor removed
    assert there(tmp_path) == before


def test_the_same_content_is_no_conflict(tmp_path):
    (tmp_path / "a.tex").write_text("1")
    write_owned(tmp_path, {"a.tex": b"1"}, {})
    first = there(tmp_path)
    write_owned(tmp_path, {"a.tex": b"1"}, {})
    assert there(tmp_path) == first


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"files": 1}', '{"files": null}', "{}"], ids=["cut", "list", "number", "null", "without"]
)
def test_another_manifest_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BadInput, match="not a manifest of ours"):
        write_owned(tmp_path, {"a.tex": b"1"}, {})
    assert there(tmp_path) == {"manifest.json": text.encode()}


def test_a_foreign_manifest_removes_nothing_elsewhere(tmp_path):
    import hashlib

    (tmp_path / "kept.txt").write_text("x")
    folder = tmp_path / "paper"
    folder.mkdir()
    digest = hashlib.sha256(b"x").hexdigest()
    names = {"../kept.txt": digest, str(tmp_path / "kept.txt"): digest}
    (folder / "manifest.json").write_text(json.dumps({"files": names}))
    write_owned(folder, {"a.tex": b"1"}, {})
    assert (tmp_path / "kept.txt").exists()
