"""The kind of a job: render or upscale."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("kind", sa.String(length=12), server_default="render", nullable=False))


def downgrade() -> None:
    # Earlier versions cannot run jobs of other kinds.
    op.execute("DELETE FROM jobs WHERE kind <> 'render'")
    op.drop_column("jobs", "kind")
