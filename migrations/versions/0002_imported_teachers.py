"""What is known of an imported teacher: where it came from, on what it was measured, why it was accepted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("teachers", recreate="always") as table:  # so that its text is the models'
        table.add_column(sa.Column("accepted", sa.Text(), nullable=True))
        table.add_column(sa.Column("fingerprint", sa.Text(), nullable=True))
        table.add_column(sa.Column("provenance", sa.Text(), nullable=True))
        table.add_column(sa.Column("verified_ms", sa.Integer(), nullable=True))
