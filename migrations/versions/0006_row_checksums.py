"""What shows that the rows which tables and figures print are still those that were committed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in (
        "study_texts", "study_runs", "study_labels", "runs", "epoch_metrics", "teachers", "exclusions", "searches",
        "draws", "draw_runs",
    ):  # fmt: skip
        op.add_column(table, sa.Column("crc", sa.Integer(), nullable=True))
