"""A backup is whole whatever is written meanwhile; damage is found before a number is read."""

import math
import random
import shutil
import sqlite3
import threading

import pytest
from sample_study import claim_one, complete, finish, open_store, save, wanted

from kdharness.core.errors import BadInput, EnvironmentRefused, KdHarnessError
from kdharness.results import columns as columns_module
from kdharness.results.backup import backup, look_into
from kdharness.results.checksums import COVERED
from kdharness.results.database import copied_from
from kdharness.results.search_records import DrawRun, SearchRow


def metrics(store):
    """Of each run; not in the study's order, which is no number."""
    return sorted(
        (row.run_id, row.seed, row.state, [*row.metrics.items()], row.weights_sha256) for row in store.rows("mini")
    )


@pytest.fixture
def finished(store):
    """The path of a database with a finished study."""
    save(store, wanted())
    for row in store.queue("mini"):
        finish(store, row.run_id, top1=90.125)
    return store._database.path


def test_backups_made_while_runs_are_written_are_whole_and_ordered(store, tmp_path):
    save(store, wanted(seeds=(0,)))
    lease = claim_one(store, store.queue("mini")[0].run_id)
    ended = threading.Event()
    committed = [0]

    def write():
        while not ended.is_set():
            committed[0] += 1
            store.commit_epoch(lease, committed[0], committed[0], {"train_loss": float(committed[0])}, None)

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    for number in range(4):
        before = committed[0]
        target = tmp_path / f"{number}.db"
        assert backup(store._database.path, target) == target.stat().st_size
        rows = sqlite3.connect(target)
        (epochs,) = rows.execute("SELECT count(*) FROM epoch_metrics").fetchone()
        (epoch,) = rows.execute("SELECT max(epoch) FROM runs").fetchone()
        rows.close()
        assert epochs == epoch >= before - 1, "what was committed before it was begun is in it"
        seen.append(epoch)
    ended.set()
    writer.join()
    assert seen == sorted(seen) and seen[-1] > 0 and not list(tmp_path.glob(".*"))


def test_a_backup_is_restored_by_putting_it_in_place(finished, store, tmp_path):
    backup(finished, tmp_path / "kept.db")
    (tmp_path / "again").mkdir()
    (tmp_path / "kept.db").rename(tmp_path / "again" / "results.db")
    assert copied_from(tmp_path / "again" / "results.db") is not None, "another file than the one that was used"
    again = open_store(tmp_path / "again")
    assert metrics(again) == metrics(store)
    assert copied_from(tmp_path / "again" / "results.db") is None, "it is told once"
    again.close()


def test_a_backup_never_overwrites_and_needs_a_directory(finished, tmp_path):
    (tmp_path / "there.db").write_text("mine")
    for target in (tmp_path / "there.db", tmp_path / "nowhere" / "a.db"):
        with pytest.raises(BadInput):
            backup(finished, target)
    assert (tmp_path / "there.db").read_text() == "mine"


DAMAGE = {
    "UPDATE metrics SET value = 90.25": "not the number that was committed",
    "UPDATE settings SET canonical = replace(canonical, '0.05', '0.06')": "not what its key says",
    "PRAGMA foreign_keys=OFF; DELETE FROM settings": "refers to a row of settings",
    "DROP INDEX ix_runs_state": "ix_runs_state is missing",
    "CREATE TABLE other (x)": "other is not one of ours",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(finished, store, damage):
    assert look_into(finished) == []
    store.close()
    connection = sqlite3.connect(finished)
    connection.executescript(damage)
    connection.close()
    assert any(DAMAGE[damage] in problem for problem in look_into(finished))


UNCOVERED = {
    "runs": {"setting_key", "seed", "metric_names"},  # the run's id is made of them; the metrics are there or missed
    "study_labels": {"study_label_id"},
}
"""What tables print of these, and another key vouches for."""


@pytest.fixture
def everything(store):
    """The path of a database with a row in every table that is printed."""
    save(store, wanted())
    store.save_searches("mini", [SearchRow("KD", {"draws": 1})])
    store.save_outcome("mini", "KD", {"winner": 0})
    for number, row in enumerate(store.queue("mini")):
        store.commit_epoch(lease := claim_one(store, row.run_id), 1, 10, {"train_loss": 0.5, "lr": math.inf}, None)
        complete(store, lease)
        store.save_draw("mini", "KD", number, 0, {"temperature": 3.0}, row.run_id, 123.0)
        store.prune_draw("mini", "KD", number, 2)
        store.save_draw_runs("mini", [DrawRun("KD", number, 1, 1, row.run_id)])
    store.exclude([row.run_id], "for the test")
    store.add_teacher(name="mine", **WEIGHTS, declared_top1=None, provenance={"file": "a.pth"})
    store.verified("mine", measured_top1=98.25, fingerprint="f" * 64)
    yield store._database.path


@pytest.mark.parametrize("table", COVERED, ids=lambda table: table.__tablename__)
def test_every_column_that_is_printed_has_its_checksum(everything, store, table):
    """A text with another letter, a number with another last bit: each is named, and no other row is."""
    store.close()
    assert look_into(everything) == []
    name = table.__tablename__
    for column in COVERED[table]:
        changed = everything.with_name("changed.db")
        shutil.copy(everything, changed)
        connection = sqlite3.connect(changed)
        (found,) = connection.execute(f'SELECT max("{column}") FROM "{name}"').fetchone()
        other = (
            "changed"
            if found is None
            else found[:-1] + chr(ord(found[-1]) ^ 1)
            if isinstance(found, str)
            else found + 1
        )
        connection.execute("PRAGMA ignore_check_constraints=ON")
        connection.execute(f'UPDATE "{name}" SET "{column}" = ? WHERE "{column}" IS ?', (other, found))
        connection.commit()
        connection.close()
        assert look_into(changed), column


WEIGHTS = {"model": "resnet20", "dataset": "digits", "weights_sha256": "7" * 64, "path": "teachers/7"}
WRITES = {
    "searches": ("searches SET outcome = '{}'", lambda store: store.save_searches("mini", [SearchRow("KD", {})])),
    "outcome": ("searches SET spec = '{}'", lambda store: store.save_outcome("mini", "KD", None)),
    "pruning": ("draws SET cost = 1.0", lambda store: store.prune_draw("mini", "KD", 0, 3)),
    "draw": (
        "draws SET pruned_epoch = 9",
        lambda store: store.save_draw("mini", "KD", 0, 0, {"temperature": 3.0}, store.queue("mini")[0].run_id, 123.0),
    ),
    "import": (
        "teachers SET measured_top1 = 99.0",
        lambda store: store.add_teacher(name="mine", **WEIGHTS, declared_top1=98.0, provenance={}),
    ),
    "verified": (
        "teachers SET declared_top1 = 1.0",
        lambda store: store.verified("mine", measured_top1=98.0, fingerprint="f" * 64),
    ),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_later_write_does_not_vouch_for_what_has_changed(everything, store, what):
    change, write = WRITES[what]
    connection = sqlite3.connect(everything)
    connection.execute(f"UPDATE {change}")
    connection.commit()
    connection.close()
    with pytest.raises(EnvironmentRefused, match="not what was committed"):
        write(store)


@pytest.mark.parametrize("column", ["dataset", "student", "teacher", "distiller", "validation", "epochs"])
def test_a_settings_columns_are_those_of_its_canonical_form(everything, store, column):
    store.close()
    connection = sqlite3.connect(everything)
    connection.execute(f"UPDATE settings SET {column} = {column} || 'x' WHERE {column} IS NOT NULL")
    connection.commit()
    connection.close()
    assert any("not what its key says" in problem for problem in look_into(everything))


def test_whatever_the_frame_reads_is_covered():
    """A new column of study_labels or runs that a table prints is to be covered too."""
    for table, name in (*columns_module._RUNS, *columns_module._LABELS):
        covered = {"crc", *COVERED[table], *UNCOVERED.get(table.__tablename__, ())}
        assert name in covered, f"{table.__tablename__}.{name}"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE study_labels SET label = 'KE' || substr(label, 3) WHERE label LIKE 'KD%'",
        "UPDATE study_labels SET axes = replace(axes, '4', '5')",
        "UPDATE runs SET teacher_sha256 = '6'",
        "UPDATE runs SET numerics_keys = '[\"x\"]'",
        "UPDATE study_runs SET run_id = run_id || 'x' WHERE study_run_id = 1",
        "UPDATE exclusions SET reason = 'none'",
        "DELETE FROM metrics WHERE name = 'test_top1_last'",
        "UPDATE runs SET metric_names = '[' WHERE state = 'complete'",
        "UPDATE settings SET distiller = 'kc' WHERE distiller = 'kd'",
        "UPDATE settings SET canonical = x'00'",
        "UPDATE runs SET setting_key = x'00' WHERE run_id IN (SELECT run_id FROM runs LIMIT 1)",
        "DELETE FROM runs WHERE run_id IN (SELECT run_id FROM runs LIMIT 1)",
        "DELETE FROM settings WHERE setting_key IN (SELECT setting_key FROM runs)",
        "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema "
        "WHERE name = 'sqlite_autoindex_settings_1') WHERE name = 'sqlite_autoindex_runs_1'",
    ],
)
def test_a_changed_row_gets_into_no_table(everything, store, change):
    store.close()
    connection = sqlite3.connect(everything)
    connection.executescript(change)
    connection.commit()
    connection.close()
    opened = open_store(everything.parent, create=False)
    with pytest.raises(EnvironmentRefused, match="damaged"):
        opened.columns("mini")
    opened.close()


@pytest.mark.parametrize("name", ["test_top1_last", "test_nll"])
def test_a_number_that_is_lost_is_missed(everything, store, name):
    """Of those a run is completed with, and of those that an analysis adds later."""
    run_ids = [row.run_id for row in store.queue("mini")]
    for run_id in run_ids:
        store.add_metrics(run_id, {"test_nll": 0.5})
    assert len(store.columns("mini")["test_nll"]) == len(store.rows("mini")) and look_into(everything) == []
    store.close()
    connection = sqlite3.connect(everything)
    connection.execute("DELETE FROM metrics WHERE name = ? AND run_id = ?", (name, run_ids[0]))
    connection.commit()
    connection.close()
    problem = f"{name} of run {run_ids[0]} is lost"
    assert look_into(everything) == [problem]
    opened = open_store(everything.parent, create=False)
    for read in (opened.columns, opened.rows):
        with pytest.raises(EnvironmentRefused, match=problem):
            read("mini")
    assert opened.columns("mini", {"test_top5_last"}), "it was not asked for"
    opened.add_metrics(run_ids[0], {"test_ece": 0.1})
    opened.close()
    assert look_into(everything) == [problem], "a later write does not vouch for it"


def test_a_flipped_bit_never_becomes_a_wrong_number(finished, store, tmp_path):
    expected = metrics(store)
    store.close()
    content = finished.read_bytes()
    damaged = tmp_path / "damaged" / "results.db"
    damaged.parent.mkdir()
    draw = random.Random(6)
    used = [at for at, byte in enumerate(content) if byte]
    refused = 0
    for _ in range(50):
        flipped = bytearray(content)
        flipped[draw.choice(used)] ^= 1 << draw.randrange(8)
        damaged.write_bytes(flipped)
        try:
            opened = open_store(damaged.parent, create=False)
            try:
                assert metrics(opened) == expected
            finally:
                opened.close()
        except KdHarnessError:  # one line for the user; anything else fails the test
            refused += 1
    assert refused, "some of the flips have hit something"


def test_a_number_that_changed_is_refused_by_every_table(finished, store):
    store.close()
    connection = sqlite3.connect(finished)
    connection.execute("UPDATE metrics SET value = value + 1e-9 WHERE name = 'test_top1_last'")
    connection.commit()
    connection.close()
    opened = open_store(finished.parent, create=False)
    with pytest.raises(EnvironmentRefused, match=r"test_top1_last of run .* not the number.*\n.*restore a backup"):
        opened.rows("mini")
    opened.close()
