"""The versions of the results database, oldest first, as Alembic migrations."""

VERSIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
"""Known without importing Alembic; a test holds it equal to `versions/`."""
HEAD = VERSIONS[-1]
