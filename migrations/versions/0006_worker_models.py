"""The models that each worker serves, their state there, and requests to load or unload them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "worker_models",
        sa.Column("worker", sa.String(length=120), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("message", sa.String(length=2000), nullable=True),
        sa.Column("load_seconds", sa.Double(), nullable=True),
        sa.Column("state_at", sa.Double(), nullable=False),
        sa.Column("load_requested_at", sa.Double(), nullable=True),
        sa.Column("unload_requested_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("worker", "model", name=op.f("pk_worker_models")),
    )
    op.create_index(op.f("ix_worker_models_model"), "worker_models", ["model"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_worker_models_model"), table_name="worker_models")
    op.drop_table("worker_models")
