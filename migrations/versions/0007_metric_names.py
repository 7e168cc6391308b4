"""Which final metrics a run has, so that one that is lost is missed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("metric_names", sa.Text(), nullable=True))
    op.execute(
        "UPDATE runs SET metric_names = (SELECT json_group_array(name) FROM "
        "(SELECT name FROM metrics WHERE metrics.run_id = runs.run_id ORDER BY name)) WHERE state = 'complete'"
    )
