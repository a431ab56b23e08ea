"""The machines of workers, their quarantine, and the tokens by which machines join."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_WORKER_COLUMNS: tuple[tuple[str, sa.types.TypeEngine[Any]], ...] = (
    ("host", sa.String(length=255)),
    ("version", sa.String(length=40)),
    ("quarantined_until", sa.Double()),
    ("quarantines", sa.Integer()),
    ("quarantine_reason", sa.String(length=500)),
    ("failures", sa.JSON(none_as_null=True)),
)


def upgrade() -> None:
    for name, kind in _WORKER_COLUMNS:
        op.add_column("workers", sa.Column(name, kind, nullable=True))
    op.create_table(
        "join_tokens",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=True),
        sa.Column("used_by", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_join_tokens")),
    )
    op.create_index("ix_join_tokens_expires_at", "join_tokens", ["expires_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_join_tokens_expires_at", table_name="join_tokens")
    op.drop_table("join_tokens")
    for name, _ in reversed(_WORKER_COLUMNS):
        op.drop_column("workers", name)
