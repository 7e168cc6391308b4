"""Alembic's entry: runs the migrations on the connection that `kdharness.results.upgrade` hands over."""

from alembic import context

from kdharness.results.schema import Table

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("run `kdharness db upgrade`: it takes the lock and makes a backup first")

context.configure(
    connection=connection,
    target_metadata=Table.metadata,
    version_table="kdharness_version",
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
