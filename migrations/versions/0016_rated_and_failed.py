"""Indexes of rated images, failed attempts and exclusions, so that the gallery and the farm's events read no others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_RATED, _FAILED = sa.text("rating IS NOT NULL"), sa.text("error_code IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "ix_images_rated", "images", ["id", "rating"], unique=False, sqlite_where=_RATED, postgresql_where=_RATED
    )
    op.create_index(
        "ix_images_owner_rated",
        "images",
        ["owner", "id", "rating"],
        unique=False,
        sqlite_where=_RATED,
        postgresql_where=_RATED,
    )
    op.create_index(
        "ix_attempts_failed", "attempts", ["ended_at"], unique=False, sqlite_where=_FAILED, postgresql_where=_FAILED
    )
    op.create_index("ix_job_exclusions_created_at", "job_exclusions", ["created_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_job_exclusions_created_at", table_name="job_exclusions")
    op.drop_index("ix_attempts_failed", table_name="attempts", sqlite_where=_FAILED, postgresql_where=_FAILED)
    op.drop_index("ix_images_owner_rated", table_name="images", sqlite_where=_RATED, postgresql_where=_RATED)
    op.drop_index("ix_images_rated", table_name="images", sqlite_where=_RATED, postgresql_where=_RATED)
