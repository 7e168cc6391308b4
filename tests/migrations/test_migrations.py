"""Every database that was ever made can be read: it upgrades with all its rows, whole or not at all."""

import json
import shutil
import sqlite3
from pathlib import Path

import kdharness.migrations
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from kdharness.core.errors import EnvironmentRefused
from kdharness.core.home import Home
from kdharness.results import upgrade as upgrade_module
from kdharness.results.backup import parts_of
from kdharness.results.schema import Table
from kdharness.results.store import Store
from kdharness.results.upgrade import upgrade

SCRIPTS = Path(kdharness.migrations.__file__).parent
OLD = sorted((Path(__file__).parent / "old").glob("*.db"))


def rows(path: Path) -> dict[str, tuple[list[str], list[tuple]]]:
    """Per table its columns and rows."""
    connection = sqlite3.connect(path)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {}
    for table in tables:
        cursor = connection.execute(f'SELECT * FROM "{table}"')
        found[table] = ([column[0] for column in cursor.description], sorted(cursor.fetchall(), key=repr))
    connection.close()
    return found


def schema(path: Path) -> dict[str, str]:
    """What `sqlite_master` says of every table and index, in any order of columns and constraints."""
    connection = sqlite3.connect(path)
    found = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'sqlite_sequence'"
    )
    said = {name: parts_of(sql) for name, sql in found}
    connection.close()
    return said


NEXT = f"{len(kdharness.migrations.VERSIONS) + 1:04d}"


@pytest.fixture
def next_version(tmp_path, monkeypatch):
    """Write `versions/NEXT` with the given body beside a copy of the migrations, and make it the newest."""

    def make(body: str) -> None:
        scripts = shutil.copytree(SCRIPTS, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
        (scripts / "versions" / f"{NEXT}_next.py").write_text(
            f"import sqlalchemy as sa\nfrom alembic import op\n\nrevision = '{NEXT}'\n"
            f"down_revision = '{kdharness.migrations.HEAD}'\n\n\ndef upgrade():\n{body}"
        )
        monkeypatch.setattr(kdharness.migrations, "__file__", str(scripts / "__init__.py"))
        monkeypatch.setattr(upgrade_module, "VERSIONS", (*kdharness.migrations.VERSIONS, NEXT))
        monkeypatch.setattr(upgrade_module, "HEAD", NEXT)

    return make


def test_the_constant_names_the_versions_that_are_there():
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    scripts = ScriptDirectory.from_config(config)
    revisions = [script.revision for script in reversed(list(scripts.walk_revisions()))]
    assert tuple(revisions) == kdharness.migrations.VERSIONS
    assert scripts.get_heads() == [kdharness.migrations.HEAD]


def test_the_migrations_make_what_the_models_say(tmp_path):
    upgrade(tmp_path / "migrated.db")
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "kdharness_version"})
        assert compare_metadata(context, Table.metadata) == []
    engine.dispose()
    # Alembic compares neither checks nor WITHOUT ROWID nor AUTOINCREMENT
    engine = create_engine(f"sqlite:///{tmp_path / 'models.db'}")
    Table.metadata.create_all(engine)
    engine.dispose()
    migrated = schema(tmp_path / "migrated.db")
    migrated.pop("kdharness_version")
    assert migrated == schema(tmp_path / "models.db")


def test_every_table_of_the_newest_old_database_has_a_row():
    assert [table for table, (_, found) in rows(OLD[-1]).items() if not found] == []
    assert {path.stem for path in OLD} == set(kdharness.migrations.VERSIONS)


@pytest.mark.parametrize("old", OLD, ids=lambda path: path.stem)
def test_an_old_database_upgrades_with_all_its_rows(old, tmp_path):
    path = tmp_path / "results.db"
    shutil.copy(old, path)
    before = rows(path)
    upgrade(path)
    after = rows(path)
    for table, (columns, values) in before.items():
        if table == "kdharness_version":
            continue
        kept = [after[table][0].index(column) for column in columns]
        assert sorted((tuple(row[at] for at in kept) for row in after[table][1]), key=repr) == values
    store = Store(Home.at(tmp_path))
    exported = json.loads(json.dumps(list(store.export("mini")), sort_keys=True))
    store.close()
    frozen = json.loads(old.with_suffix(".json").read_text())
    assert [{name: row.get(name) for name in frozen[0]} for row in exported] == frozen


def test_an_upgrade_keeps_a_backup_and_every_row(tmp_path, next_version):
    path = tmp_path / "results.db"
    shutil.copy(OLD[-1], path)
    before = rows(path)
    # a batch operation makes the table anew: with foreign keys on it would empty all that refer to it
    next_version(
        "    with op.batch_alter_table('studies') as table:\n"
        "        table.add_column(sa.Column('about', sa.Text(), nullable=True))\n"
        "        table.alter_column('created_ms', type_=sa.BigInteger())\n"
    )
    backup = upgrade(path)
    assert rows(backup) == before
    after = rows(path)
    assert after.pop("kdharness_version")[1] == [(NEXT,)]
    assert after.pop("studies")[0][-1] == "about"
    assert all(after[table] == before[table] for table in after)
    assert "uq_studies_name" in "".join(schema(path)["studies"])
    assert upgrade(path) is None, "nothing is left to do"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("    op.drop_table('draws')\n    op.execute('SELEKT')\n", "syntax"),
        ("    op.execute('DELETE FROM settings')\n", "would break .* references"),
    ],
)
def test_an_upgrade_that_fails_changes_nothing(tmp_path, next_version, body, error):
    path = tmp_path / "results.db"
    shutil.copy(OLD[-1], path)
    before = rows(path)
    next_version(body)
    with pytest.raises(Exception, match=error):
        upgrade(path)
    assert rows(path) == before


def test_a_database_of_the_future_is_not_touched(tmp_path):
    path = tmp_path / "results.db"
    shutil.copy(OLD[-1], path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE kdharness_version SET version_num = '0099'")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(EnvironmentRefused, match="0099"):
        upgrade(path)
    assert path.read_bytes() == before
