"""What a search is and came to, what its draws cost, which it gave up, and what they were trained for later."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "searches",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("asked", sa.Boolean(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("created_ms", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.study_id"], name=op.f("fk_searches_study_id_studies")),
        sa.PrimaryKeyConstraint("study_id", "name", name=op.f("pk_searches")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("draws", recreate="always", table_kwargs={"sqlite_with_rowid": False}) as table:
        table.add_column(sa.Column("cost", sa.REAL(), nullable=True))
        table.add_column(sa.Column("pruned_epoch", sa.Integer(), nullable=True))
    op.create_table(
        "draw_runs",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("rung", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_draw_runs_run_id_runs")),
        sa.ForeignKeyConstraint(
            ["study_id", "label", "number"],
            ["draws.study_id", "draws.label", "draws.number"],
            name=op.f("fk_draw_runs_study_id_label_number_draws"),
        ),
        sa.PrimaryKeyConstraint("study_id", "label", "number", "rung", "seed", name=op.f("pk_draw_runs")),
        sqlite_with_rowid=False,
    )
