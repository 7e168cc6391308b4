"""What shows that a result is still the one that was committed, and that the file was copied."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    without_rowid = {"sqlite_with_rowid": False}
    with op.batch_alter_table("metrics", recreate="always", table_kwargs=without_rowid) as table:
        table.add_column(sa.Column("crc", sa.Integer(), nullable=True))
    op.create_table(
        "places",
        sa.Column("place_id", sa.Integer(), nullable=False),
        sa.Column("inode", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("since_ms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("place_id", name=op.f("pk_places")),
    )
