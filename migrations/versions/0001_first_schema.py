"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "process_leases",
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("owner_host", sa.Text(), nullable=False),
        sa.Column("owner_boot_id", sa.Text(), nullable=False),
        sa.Column("owner_pid", sa.Integer(), nullable=False),
        sa.Column("owner_pid_start", sa.Integer(), nullable=False),
        sa.Column("owner_nonce", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.REAL(), nullable=False),
        sa.PrimaryKeyConstraint("role", name=op.f("pk_process_leases")),
    )
    op.create_table(
        "revealed",
        sa.Column("setting_key", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("pair", sa.Text(), nullable=False),
        sa.Column("distiller", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("revealed_ms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("setting_key", name=op.f("pk_revealed")),
    )
    op.create_index(
        op.f("ix_revealed_dataset_pair_distiller"), "revealed", ["dataset", "pair", "distiller"], unique=False
    )
    op.create_table(
        "settings",
        sa.Column("setting_key", sa.Text(), nullable=False),
        sa.Column("canonical", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("student", sa.Text(), nullable=False),
        sa.Column("teacher", sa.Text(), nullable=True),
        sa.Column("distiller", sa.Text(), nullable=False),
        sa.Column("validation", sa.REAL(), nullable=False),
        sa.Column("epochs", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("setting_key", name=op.f("pk_settings")),
    )
    op.create_table(
        "studies",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_studies")),
        sa.UniqueConstraint("name", name=op.f("uq_studies_name")),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("setting_key", sa.Text(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("origin_study", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("futile", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("owner_host", sa.Text(), nullable=True),
        sa.Column("owner_boot_id", sa.Text(), nullable=True),
        sa.Column("owner_pid", sa.Integer(), nullable=True),
        sa.Column("owner_pid_start", sa.Integer(), nullable=True),
        sa.Column("owner_nonce", sa.Text(), nullable=True),
        sa.Column("slot", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.REAL(), nullable=True),
        sa.Column("numerics_keys", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("weights_sha256", sa.Text(), nullable=True),
        sa.Column("teacher_sha256", sa.Text(), nullable=True),
        sa.Column("started_ms", sa.Integer(), nullable=True),
        sa.Column("finished_ms", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.CheckConstraint("(state = 'complete') = (weights_sha256 IS NOT NULL)", name=op.f("ck_runs_weights")),
        sa.CheckConstraint(
            "(state = 'running') = (lease_until IS NOT NULL) AND (state = 'running') = (owner_pid IS NOT NULL)",
            name=op.f("ck_runs_lease"),
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'complete', 'pruned', 'failed', 'diverged', 'cancelled')",
            name=op.f("ck_runs_state"),
        ),
        sa.ForeignKeyConstraint(["setting_key"], ["settings.setting_key"], name=op.f("fk_runs_setting_key_settings")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_runs")),
        sa.UniqueConstraint("setting_key", "seed", name=op.f("uq_runs_setting_key_seed")),
    )
    op.create_index(op.f("ix_runs_state"), "runs", ["state"], unique=False)
    op.create_table(
        "study_texts",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("saved_ms", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.study_id"], name=op.f("fk_study_texts_study_id_studies")),
        sa.PrimaryKeyConstraint("study_id", "number", name=op.f("pk_study_texts")),
    )
    op.create_table(
        "attempts",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("owner_host", sa.Text(), nullable=False),
        sa.Column("owner_boot_id", sa.Text(), nullable=False),
        sa.Column("owner_pid", sa.Integer(), nullable=False),
        sa.Column("owner_pid_start", sa.Integer(), nullable=False),
        sa.Column("owner_nonce", sa.Text(), nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("git_commit", sa.Text(), nullable=True),
        sa.Column("versions", sa.Text(), nullable=True),
        sa.Column("numerics_key", sa.Text(), nullable=True),
        sa.Column("numerics", sa.Text(), nullable=True),
        sa.Column("checkpoints", sa.Integer(), nullable=False),
        sa.Column("claimed_ms", sa.Integer(), nullable=False),
        sa.Column("started_ms", sa.Integer(), nullable=True),
        sa.Column("finished_ms", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('complete', 'pruned', 'failed', 'diverged', 'cancelled', 'released', 'lost')",
            name=op.f("ck_attempts_outcome"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_attempts_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("pk_attempts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "draws",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_draws_run_id_runs")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.study_id"], name=op.f("fk_draws_study_id_studies")),
        sa.PrimaryKeyConstraint("study_id", "label", "number", name=op.f("pk_draws")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "epoch_metrics",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.REAL(), nullable=True),
        sa.Column("nonfinite", sa.Text(), nullable=True),
        sa.Column("at_ms", sa.Integer(), nullable=False),
        sa.CheckConstraint("nonfinite IN ('nan', 'inf', '-inf')", name=op.f("ck_epoch_metrics_nonfinite")),
        sa.CheckConstraint("(value IS NULL) = (nonfinite IS NOT NULL)", name=op.f("ck_epoch_metrics_one_value")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_epoch_metrics_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "epoch", "name", name=op.f("pk_epoch_metrics")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "metrics",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.REAL(), nullable=True),
        sa.Column("nonfinite", sa.Text(), nullable=True),
        sa.CheckConstraint("nonfinite IN ('nan', 'inf', '-inf')", name=op.f("ck_metrics_nonfinite")),
        sa.CheckConstraint("(value IS NULL) = (nonfinite IS NOT NULL)", name=op.f("ck_metrics_one_value")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_metrics_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_metrics")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "mirror",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("logged_epoch", sa.Integer(), nullable=False),
        sa.Column("finished", sa.Boolean(), nullable=False),
        sa.Column("saved_ms", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_mirror_run_id_runs")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.study_id"], name=op.f("fk_mirror_study_id_studies")),
        sa.PrimaryKeyConstraint("study_id", "run_id", name=op.f("pk_mirror")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "predictions",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_predictions_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_predictions")),
    )
    op.create_table(
        "run_needs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("needs_run_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["needs_run_id"], ["runs.run_id"], name=op.f("fk_run_needs_needs_run_id_runs")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_run_needs_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "needs_run_id", name=op.f("pk_run_needs")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_run_needs_needs_run_id"), "run_needs", ["needs_run_id"], unique=False)
    op.create_table(
        "study_runs",
        sa.Column("study_run_id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_study_runs_run_id_runs")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.study_id"], name=op.f("fk_study_runs_study_id_studies")),
        sa.PrimaryKeyConstraint("study_run_id", name=op.f("pk_study_runs")),
        sa.UniqueConstraint("study_id", "run_id", name=op.f("uq_study_runs_study_id_run_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_study_runs_run_id"), "study_runs", ["run_id"], unique=False)
    op.create_table(
        "teachers",
        sa.Column("teacher_id", sa.Integer(), nullable=False),
        sa.Column("weights_sha256", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("declared_top1", sa.REAL(), nullable=True),
        sa.Column("measured_top1", sa.REAL(), nullable=True),
        sa.Column("added_ms", sa.Integer(), nullable=False),
        sa.CheckConstraint("(origin = 'trained') = (run_id IS NOT NULL)", name=op.f("ck_teachers_trained")),
        sa.CheckConstraint("origin IN ('trained', 'imported')", name=op.f("ck_teachers_origin")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_teachers_run_id_runs")),
        sa.PrimaryKeyConstraint("teacher_id", name=op.f("pk_teachers")),
        sa.UniqueConstraint("name", name=op.f("uq_teachers_name")),
        sa.UniqueConstraint("run_id", name=op.f("uq_teachers_run_id")),
    )
    op.create_table(
        "checkpoints",
        sa.Column("checkpoint_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("saved_ms", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id", "fence"],
            ["attempts.run_id", "attempts.number"],
            name=op.f("fk_checkpoints_run_id_fence_attempts"),
        ),
        sa.PrimaryKeyConstraint("checkpoint_id", name=op.f("pk_checkpoints")),
        sa.UniqueConstraint("path", name=op.f("uq_checkpoints_path")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_checkpoints_run_id"), "checkpoints", ["run_id"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("outbox_id", sa.Integer(), nullable=False),
        sa.Column("study_run_id", sa.Integer(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.Integer(), nullable=False),
        sa.CheckConstraint("what IN ('asked', 'study', 'state', 'epoch')", name=op.f("ck_outbox_what")),
        sa.ForeignKeyConstraint(
            ["study_run_id"],
            ["study_runs.study_run_id"],
            name=op.f("fk_outbox_study_run_id_study_runs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("outbox_id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("study_run_id", name=op.f("uq_outbox_study_run_id")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "study_labels",
        sa.Column("study_label_id", sa.Integer(), nullable=False),
        sa.Column("study_run_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("pair", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("student", sa.Text(), nullable=False),
        sa.Column("teacher", sa.Text(), nullable=True),
        sa.Column("teacher_run_id", sa.Text(), nullable=True),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=True),
        sa.Column("axes", sa.Text(), nullable=False),
        sa.Column("against", sa.Text(), nullable=True),
        sa.Column("ours", sa.Boolean(), nullable=False),
        sa.Column("provenance", sa.Text(), nullable=False),
        sa.Column("extended", sa.Boolean(), nullable=False),
        sa.CheckConstraint("purpose IN ('teacher', 'search', 'final')", name=op.f("ck_study_labels_purpose")),
        sa.ForeignKeyConstraint(
            ["study_run_id"],
            ["study_runs.study_run_id"],
            name=op.f("fk_study_labels_study_run_id_study_runs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("study_label_id", name=op.f("pk_study_labels")),
        sa.UniqueConstraint(
            "study_run_id", "label", "pair", "purpose", name=op.f("uq_study_labels_study_run_id_label_pair_purpose")
        ),
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the upgrade")
