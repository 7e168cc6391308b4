"""A bundle is the same for the same rows, gives every cell again, and nothing in it can be changed unseen."""

import hashlib
import json
import shutil
import sqlite3
import stat
import zipfile
from pathlib import Path

import pytest
from pretended_study import TEXT, pretend

import kdharness
from kdharness.core.errors import BadInput
from kdharness.core.home import Home
from kdharness.results import schema
from kdharness.results.checksums import COVERED
from kdharness.results.encoding import metric_crc, row_crc
from kdharness.results.extract import KEPT, LEFT_OUT
from kdharness.results.store import Store
from kdharness.runtime import bundle_file
from kdharness.runtime.bundling import make_bundle
from kdharness.runtime.rebuilding import Verification, verify_bundle


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return pretend(tmp_path_factory.mktemp("pretended") / "home", unfinished=1)


@pytest.fixture(scope="module")
def bundle(home, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "tiny.zip"
    made = make_bundle(home, "tiny", path)
    assert (made.runs, made.cells) == (7, 4)
    return path


def test_every_cell_is_made_again(bundle):
    found = verify_bundle(bundle)
    assert found.equal and found.runs == 7 and found.sha256 == hashlib.sha256(bundle.read_bytes()).hexdigest()
    cells = [one for one in found.checked if one.row]
    assert len(cells) == 4 and cells[0].text == "92.5 ± 1.25 (3/3)"
    assert any(one.text.endswith("(2/3)") for one in cells), "of a study that is not finished too"


def test_equal_databases_give_equal_bytes(home, bundle, tmp_path):
    other = Home(tmp_path / "elsewhere")
    other.root.mkdir()
    Store(home).query("SELECT 1")
    connection = sqlite3.connect(home.results)
    connection.execute("VACUUM INTO ?", (str(other.results),))
    connection.close()
    make_bundle(other, "tiny", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()


def test_it_holds_the_study_and_nothing_of_the_machine(home, bundle):
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
        assert names == ["manifest.json", "study/1.yaml", "study/2.yaml", "tables.json", "results.db"]
        assert archive.read("study/2.yaml").decode() == TEXT
        everything = b"".join(map(archive.read, names))
    _, (owner,) = Store(home).query("SELECT owner_host, owner_boot_id, owner_nonce FROM attempts LIMIT 1")
    for secret in (*owner, "/secret/place", str(home.root)):
        assert secret.encode() not in everything, secret


def test_only_the_study_asked_for_is_in_it(tmp_path):
    from tiny_study import setting

    from kdharness.core.records import WantedRun

    home = pretend(tmp_path / "home")
    store = Store(home)
    alone = WantedRun(setting("none", batch_size=128), 0, "final", "private-label", "resnet8", "resnet8", None, row=1)
    store.save_study("private", "study: private\n", [alone], path="private.yaml", spec={})
    make_bundle(home, "tiny", tmp_path / "tiny.zip")
    with zipfile.ZipFile(tmp_path / "tiny.zip") as archive:
        assert all(b"private" not in archive.read(name) for name in archive.namelist())
    store.close()


def test_every_table_of_the_schema_is_kept_or_left_out():
    assert sorted([*KEPT, *LEFT_OUT]) == sorted(schema.Table.metadata.tables)


def test_a_bundle_is_never_overwritten(home, bundle, tmp_path):
    for target in (bundle, tmp_path / "nowhere" / "tiny.zip"):
        with pytest.raises(BadInput):
            make_bundle(home, "tiny", target)
    assert not list(bundle.parent.glob(".*")), "nothing is left beside it"
    with pytest.raises(BadInput, match="unknown study"):
        make_bundle(home, "tine", tmp_path / "tine.zip")


# Changed, with every hash of the file put right again


def rewritten(bundle: Path, target: Path, changes: dict[str, bytes], *, manifest: dict[str, str] | None = None) -> Path:
    """The bundle with other members; its manifest names their hashes."""
    with zipfile.ZipFile(bundle) as archive:
        members = {name: changes.get(name, archive.read(name)) for name in archive.namelist()}
    text = members["manifest.json"].decode()
    for old, new in (manifest or {}).items():
        assert old in text
        text = text.replace(old, new, 1)
    said = json.loads(text)
    for name in said["members"]:
        said["members"][name] = {"bytes": len(members[name]), "sha256": hashlib.sha256(members[name]).hexdigest()}
    members["manifest.json"] = json.dumps(said).encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def with_rows(bundle: Path, folder: Path, *statements: str) -> Path:
    """The bundle after SQL on its rows; the checksums of final numbers are put right too."""
    with zipfile.ZipFile(bundle) as archive:
        (folder / "rows.db").write_bytes(archive.read("results.db"))
    connection = sqlite3.connect(folder / "rows.db")
    for statement in statements:
        assert connection.execute(statement).rowcount != 0, statement
    sealed(connection)
    return rewritten(bundle, folder / "changed.zip", {"results.db": (folder / "rows.db").read_bytes()})


def sealed(connection: sqlite3.Connection) -> None:
    """Put every checksum of the rows right, and close."""
    connection.create_function("row_crc", -1, row_crc)
    for row in connection.execute("SELECT run_id, name, value, nonfinite FROM metrics").fetchall():
        connection.execute("UPDATE metrics SET crc = ? WHERE run_id = ? AND name = ?", (metric_crc(*row), *row[:2]))
    for table, covered in COVERED.items():
        columns = ", ".join(f'"{name}"' for name in covered)
        connection.execute(f"UPDATE {table.__tablename__} SET crc = row_crc({columns}) WHERE crc IS NOT NULL")
    connection.commit()
    connection.close()


def differences(found: Verification) -> str:
    assert not found.equal
    return "\n".join(difference for one in found.checked for difference in one.differences)


def test_one_number_of_a_table_is_seen(bundle, tmp_path):
    with zipfile.ZipFile(bundle) as archive:
        tables = archive.read("tables.json").decode()
    for old, new in (("92.5", "92.75"), ('"n": 3', '"n": 5'), ("Test top-1", "Test top-2")):
        assert old in tables
        changed = rewritten(bundle, tmp_path / "changed.zip", {"tables.json": tables.replace(old, new, 1).encode()})
        said = differences(verify_bundle(changed))
        assert f"{old.partition(': ')[2] or old}" in said and "from its rows" in said


def test_another_version_may_have_worded_its_notes_otherwise_but_had_the_same_numbers(bundle, tmp_path):
    with zipfile.ZipFile(bundle) as archive:
        tables = archive.read("tables.json").decode()
    older = {f'"kdharness": "{kdharness.__version__}"': '"kdharness": "0.0.9"'}
    note = {"tables.json": tables.replace('"caption": "', '"caption": "Once ', 1).encode()}
    now = verify_bundle(rewritten(bundle, tmp_path / "now.zip", note))
    assert 'caption: "Once' in differences(now)
    then = verify_bundle(rewritten(bundle, tmp_path / "then.zip", note, manifest=older))
    (worded,) = (one for one in then.checked if one.worded)
    assert then.equal and then.version == "0.0.9" and worded.worded[0].startswith('caption: "Once')
    number = {"tables.json": tables.replace("92.5", "92.75", 1).encode()}
    assert "92.75 in the bundle" in differences(
        verify_bundle(rewritten(bundle, tmp_path / "number.zip", number, manifest=older))
    )


def test_one_row_is_seen(bundle, tmp_path):
    one = "WHERE name = 'test_top1_last' AND run_id = (SELECT min(run_id) FROM metrics)"
    said = differences(verify_bundle(with_rows(bundle, tmp_path, f"UPDATE metrics SET value = 99.0 {one}")))
    assert "its curve says" in said and "its results_sha256 is not the manifest's" in said
    students = "SELECT min(run_id) FROM study_runs JOIN study_labels USING (study_run_id) JOIN runs USING (run_id)"
    chosen = f"({students} WHERE purpose = 'final' AND state = 'complete')"
    change = f"INSERT INTO exclusions (run_id, reason, at_ms) VALUES ({chosen}, 'bad', 1)"
    assert "in the bundle" in differences(verify_bundle(with_rows(bundle, tmp_path, change)))


def test_one_curve_is_seen(bundle, tmp_path):
    for epoch, name in ((1, "train_loss"), (3, "test_top1")):
        change = f"UPDATE epoch_metrics SET value = value + 0.001 WHERE epoch = {epoch} AND name = '{name}'"
        said = differences(verify_bundle(with_rows(bundle, tmp_path, change)))
        assert "its results_sha256 is not the manifest's" in said
        assert ("its curve says" in said) == (name == "test_top1")


def test_one_prediction_one_text_and_one_hash_of_weights_are_seen(bundle, tmp_path):
    changed = with_rows(bundle, tmp_path, "UPDATE predictions SET packed = x'00' WHERE rowid = 1")
    assert "its results_sha256 is not the manifest's" in differences(verify_bundle(changed))
    changed = with_rows(bundle, tmp_path, f"UPDATE runs SET weights_sha256 = '{'0' * 64}' WHERE state = 'complete'")
    assert "its weights_sha256 is not the manifest's" in differences(verify_bundle(changed))
    changed = rewritten(bundle, tmp_path / "changed.zip", {"study/2.yaml": b"study: tiny\n"})
    assert "study/2.yaml is not the one" in differences(verify_bundle(changed))
    changed = rewritten(bundle, tmp_path / "changed.zip", {}, manifest={'"mean": 92.5': '"mean": 92.75'})
    assert "the manifest's tables[0]" in differences(verify_bundle(changed))


# Hostile files: one clear error each, and nothing outside the folder


def plain(bundle: Path, target: Path, name: str, content: bytes) -> Path:
    """The bundle with another byte string in place of one member, the manifest as it was."""
    with zipfile.ZipFile(bundle) as archive, zipfile.ZipFile(target, "w") as out:
        for member in archive.namelist():
            out.writestr(member, content if member == name else archive.read(member))
    return target


def adding(bundle: Path, target: Path, entry: zipfile.ZipInfo | str, content: bytes = b"x") -> Path:
    shutil.copy(bundle, target)
    with zipfile.ZipFile(target, "a") as out:
        out.writestr(entry, content)
    return target


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return entry


HOSTILE = {
    "no zip": (lambda bundle, to: to.write_bytes(b"SQLite format 3\0"), "no bundle that can be read"),
    "nothing": (lambda bundle, to: to.write_bytes(b""), "no bundle that can be read"),
    "cut": (lambda bundle, to: to.write_bytes(bundle.read_bytes()[:5000]), "no bundle that can be read"),
    "slip": (lambda bundle, to: adding(bundle, to, "../escaped.txt"), "no member '../escaped.txt'"),
    "absolute": (lambda bundle, to: adding(bundle, to, "/tmp/escaped.txt"), "no member '/tmp/escaped.txt'"),
    "backslash": (lambda bundle, to: adding(bundle, to, "study\\1.yaml"), "no member"),
    "other": (lambda bundle, to: adding(bundle, to, "code.pkl"), "no member 'code.pkl'"),
    "hidden": (lambda bundle, to: adding(bundle, to, "study/3.yaml"), "its manifest and its members differ"),
    "twice": (lambda bundle, to: adding(bundle, to, "study/2.yaml"), "twice"),
    "link": (lambda bundle, to: adding(bundle, to, link("study/9.yaml"), b"/etc/passwd"), "no plain file"),
    "database": (lambda bundle, to: plain(bundle, to, "results.db", b"x"), "results.db is not what its manifest says"),
    "tables": (lambda bundle, to: plain(bundle, to, "tables.json", b"{}"), "tables.json is not what its manifest says"),
    "manifest": (lambda bundle, to: plain(bundle, to, "manifest.json", b"{}"), "its format is 'None'"),
    "no json": (lambda bundle, to: plain(bundle, to, "manifest.json", b"[" * 100_000), "no JSON"),
    "an empty study": (lambda bundle, to: rewritten(bundle, to, {"results.db": b""}), "results.db is empty"),
    "no database": (lambda bundle, to: rewritten(bundle, to, {"results.db": b"x" * 9000}), "not a database"),
    "no tables": (lambda bundle, to: rewritten(bundle, to, {"tables.json": b'{"tables": [3]}'}), "has no tables"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_gets_one_clear_error(bundle, tmp_path, kind, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "private"))
    (tmp_path / "private").mkdir()
    make, told = HOSTILE[kind]
    make(bundle, tmp_path / "bad.zip")
    with pytest.raises(BadInput) as refused:
        verify_bundle(tmp_path / "bad.zip")
    assert told in str(refused.value) and str(tmp_path / "bad.zip") in str(refused.value)
    assert not list((tmp_path / "private").iterdir()) and not list(tmp_path.glob("**/escaped*"))


def test_a_bomb_is_stopped_at_the_size_that_it_names(bundle, tmp_path, monkeypatch):
    bomb = plain(bundle, tmp_path / "bomb.zip", "results.db", b"")
    with zipfile.ZipFile(bundle) as archive, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as out:
        for name in archive.namelist():
            out.writestr(name, b"\0" * 2**24 if name == "results.db" else archive.read(name))
    written = []
    monkeypatch.setattr(bundle_file, "_CHUNK", 2**16)
    unpack = bundle_file._unpack

    def watched(archive, name, member, target):
        try:
            unpack(archive, name, member, target)
        finally:
            written.append((name, target.stat().st_size, member.bytes))

    monkeypatch.setattr(bundle_file, "_unpack", watched)
    with pytest.raises(BadInput, match=r"results\.db is not what"):
        verify_bundle(bomb)
    assert all(size <= said for _, size, said in written)
    monkeypatch.setattr(bundle_file, "MOST_BYTES", 1000)
    with pytest.raises(BadInput, match="more than 1,000 bytes"):
        verify_bundle(bundle)


def test_a_broken_stream_is_told(bundle, tmp_path):
    content = bytearray(bundle.read_bytes())
    with zipfile.ZipFile(bundle) as archive:
        start = archive.getinfo("results.db").header_offset + 200
    content[start : start + 64] = bytes(64)
    (tmp_path / "broken.zip").write_bytes(content)
    with pytest.raises(BadInput):
        verify_bundle(tmp_path / "broken.zip")


PROGRAMS = {
    "CREATE TRIGGER late AFTER INSERT ON runs BEGIN DELETE FROM runs; END": "trigger",
    "CREATE VIEW more AS SELECT 1": "view",
    "CREATE VIRTUAL TABLE more USING fts5(x)": "virtual table",
    "CREATE INDEX costly ON runs (length(zeroblob(100000000)))": "costly is not one of ours",
    "CREATE TABLE more (x)": "more is not one of ours",
    "DROP TABLE metrics": "metrics is missing",
    "UPDATE studies SET name = 'other'": "unknown study",
    "UPDATE study_texts SET spec = '[]'": "not those of a study",
    'UPDATE study_texts SET spec = \'{"tables": [{"rows": 3}]}\'': "not those of a study",
    "UPDATE study_labels SET axes = '{'": "not those of a study",
    "UPDATE settings SET canonical = '{}'": "not what its key says",
    "UPDATE kdharness_version SET version_num = '9999'": "version 9999",
    "DELETE FROM study_runs": "damaged",
}


@pytest.mark.parametrize("statement", PROGRAMS)
def test_hostile_rows_get_one_clear_error(bundle, tmp_path, statement):
    with zipfile.ZipFile(bundle) as archive:
        (tmp_path / "rows.db").write_bytes(archive.read("results.db"))
    connection = sqlite3.connect(tmp_path / "rows.db")
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute(statement)
    if "metrics" in statement:
        connection.commit()
        connection.close()
    else:
        sealed(connection)
    changed = rewritten(bundle, tmp_path / "changed.zip", {"results.db": (tmp_path / "rows.db").read_bytes()})
    with pytest.raises(BadInput, match=PROGRAMS[statement]):
        verify_bundle(changed)
