"""The speed of workers in a column of its own: to compare it, reports of all workers need not be parsed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("alone_seconds", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "alone_seconds")
