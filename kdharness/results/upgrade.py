"""Bring a results database to this program's version by its migrations, whole or not at all."""

import time
from pathlib import Path

from kdharness.core.errors import EnvironmentRefused
from kdharness.migrations import HEAD, VERSIONS
from kdharness.results.backup import copy_into
from kdharness.results.commits import gate_of
from kdharness.results.database import WAIT_SECONDS, migration_connection, refusals, version_of
from kdharness.results.gate import gate


def upgrade(path: Path) -> Path | None:
    """The backup that was made of an older database with content, beside it; None if there was nothing to keep.

    Two upgraders take turns; the second finds nothing to do. Raises EnvironmentRefused for a newer database.
    """
    from alembic import command
    from alembic.config import Config

    import kdharness.migrations

    path = path.resolve()
    with refusals(path), gate(gate_of(path), WAIT_SECONDS):
        version = version_of(path)
        if version == HEAD:
            return None
        if version is not None and version not in VERSIONS:
            raise EnvironmentRefused(
                f"the results database has version {version}, this kdharness knows up to {HEAD}",
                where=str(path),
                remedy="it was made by a newer kdharness: upgrade kdharness, or name another --home",
            )
        backup = _back_up(path, version) if version is not None else None
        if not path.exists():
            path.touch(mode=0o600)
        config = Config()
        config.set_main_option("script_location", str(Path(kdharness.migrations.__file__).parent).replace("%", "%%"))
        with migration_connection(path) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return backup


def _back_up(path: Path, version: str) -> Path:
    """A whole copy, made by SQLite: a copied file of a database in use may lack committed rows."""
    backup = path.with_name(f"{path.name}.{version}-{time.time_ns()}.backup")
    beside = backup.with_name(f".{backup.name}.tmp")
    try:
        copy_into(path, beside)
        beside.replace(backup)
    finally:
        beside.unlink(missing_ok=True)
    return backup
