"""Lanes and hosts of webhook messages without their secrets, faces of jobs, and the uploads that jobs start from."""

from __future__ import annotations

from urllib.parse import urlsplit

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PENDING = sa.text("status = 'pending'")
_HAS_UPLOAD = sa.text("upload_id IS NOT NULL")
_deliveries = sa.table("webhook_deliveries", sa.column("id"), sa.column("url"), sa.column("host"))


def upgrade() -> None:
    op.add_column("jobs", sa.Column("face", sa.String(length=8), nullable=True))
    op.add_column("jobs", sa.Column("upload_id", sa.String(length=36), nullable=True))
    postgres = op.get_bind().dialect.name == "postgresql"
    upload = "input -> 'init_image' ->> 'upload_id'" if postgres else "json_extract(input, '$.init_image.upload_id')"
    op.execute(f"UPDATE jobs SET upload_id = {upload} WHERE {upload} IS NOT NULL")  # noqa: S608 -- constants
    op.create_index(
        "ix_jobs_upload", "jobs", ["upload_id"], unique=False, sqlite_where=_HAS_UPLOAD, postgresql_where=_HAS_UPLOAD
    )
    op.create_index("ix_uploads_created_at", "uploads", ["created_at"], unique=False)

    op.add_column("webhook_cursor", sa.Column("secrets_encrypted_at", sa.Double(), nullable=True))
    with op.batch_alter_table("webhook_endpoints", schema=None) as batch_op:
        batch_op.alter_column("secret", existing_type=sa.String(length=200), type_=sa.Text(), existing_nullable=False)

    op.add_column("webhook_deliveries", sa.Column("lane", sa.String(length=120), nullable=True))
    op.add_column("webhook_deliveries", sa.Column("host", sa.String(length=255), nullable=True))
    op.execute("UPDATE webhook_deliveries SET lane = owner")
    rows = op.get_bind().execute(sa.select(_deliveries.c.id, _deliveries.c.url)).all()
    hosts = [{"of_id": row.id, "host_name": (urlsplit(row.url).hostname or "")[:255]} for row in rows]
    if hosts:
        change = sa.update(_deliveries).where(_deliveries.c.id == sa.bindparam("of_id"))
        op.get_bind().execute(change.values(host=sa.bindparam("host_name")), hosts)
    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.alter_column("lane", existing_type=sa.String(length=120), nullable=False)
        batch_op.alter_column("host", existing_type=sa.String(length=255), nullable=False)
        batch_op.drop_column("secret")
        batch_op.create_index(
            "ix_webhook_deliveries_lane",
            ["lane", "next_at"],
            unique=False,
            sqlite_where=_PENDING,
            postgresql_where=_PENDING,
        )


def downgrade() -> None:
    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.drop_index("ix_webhook_deliveries_lane", sqlite_where=_PENDING, postgresql_where=_PENDING)
        # Secrets of messages are not copied any more: one that is still pending fails after a downgrade.
        batch_op.add_column(sa.Column("secret", sa.String(length=200), nullable=False, server_default=""))
        batch_op.drop_column("host")
        batch_op.drop_column("lane")
    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.alter_column("secret", existing_type=sa.String(length=200), server_default=None)
    # Encrypted secrets do not fit the older column and cannot be used by that version.
    op.execute("DELETE FROM webhook_endpoints WHERE secret LIKE 'enc:%'")
    with op.batch_alter_table("webhook_endpoints", schema=None) as batch_op:
        batch_op.alter_column("secret", existing_type=sa.Text(), type_=sa.String(length=200), existing_nullable=False)
    op.drop_column("webhook_cursor", "secrets_encrypted_at")
    op.drop_index("ix_uploads_created_at", "uploads")
    op.drop_index("ix_jobs_upload", "jobs", sqlite_where=_HAS_UPLOAD, postgresql_where=_HAS_UPLOAD)
    op.drop_column("jobs", "upload_id")
    op.drop_column("jobs", "face")
