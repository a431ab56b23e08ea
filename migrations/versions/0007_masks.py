"""The uploads that jobs name as their masks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_HAS_MASK = sa.text("mask_upload_id IS NOT NULL")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("mask_upload_id", sa.String(length=36), nullable=True))
    op.create_index(
        "ix_jobs_mask_upload", "jobs", ["mask_upload_id"], unique=False, sqlite_where=_HAS_MASK, postgresql_where=_HAS_MASK
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_mask_upload", "jobs", sqlite_where=_HAS_MASK, postgresql_where=_HAS_MASK)
    op.drop_column("jobs", "mask_upload_id")
