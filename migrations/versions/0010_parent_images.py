"""The images that jobs were made from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_HAS_PARENT = sa.text("parent_image_id IS NOT NULL")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("parent_image_id", sa.String(length=36), nullable=True))
    op.create_index(
        "ix_jobs_parent_image",
        "jobs",
        ["parent_image_id"],
        unique=False,
        sqlite_where=_HAS_PARENT,
        postgresql_where=_HAS_PARENT,
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_parent_image", "jobs", sqlite_where=_HAS_PARENT, postgresql_where=_HAS_PARENT)
    op.drop_column("jobs", "parent_image_id")
