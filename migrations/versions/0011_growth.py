"""Usage by day and owner, and an index for the list of each status."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_JOB_STATUSES = ("queued", "running", "succeeded", "failed", "canceled", "expired", "held")
_HAD_INDEX = ("failed", "held")
_DELIVERY_STATUSES = ("pending", "delivered", "failed")
_BATCH = 20_000
_JOBS = "SELECT id FROM jobs WHERE status = 'succeeded' AND id > :after ORDER BY id LIMIT :batch"
_DAY = "CAST(floor(completed_at / 86400) AS INTEGER)"
_PER_JOB = f"""
    SELECT owner, {_DAY} AS day, completed_at - coalesce(started_at, completed_at) AS seconds,
           (SELECT count(*) FROM images WHERE images.job_id = jobs.id) AS images,
           (SELECT coalesce(sum(CAST(width AS BIGINT) * height), 0) FROM images WHERE images.job_id = jobs.id) AS pixels
    FROM jobs WHERE status = 'succeeded' AND completed_at IS NOT NULL AND id > :after AND id <= :last
"""  # noqa: S608 -- constants
_ADD = f"""
    INSERT INTO usage_days (owner, day, part, jobs, images, pixels, render_seconds)
    SELECT owner, day, 0, count(*), sum(images), sum(pixels), sum(seconds) FROM ({_PER_JOB}) AS each_job
    WHERE true GROUP BY owner, day
    ON CONFLICT (day, owner, part) DO UPDATE SET
        jobs = usage_days.jobs + excluded.jobs, images = usage_days.images + excluded.images,
        pixels = usage_days.pixels + excluded.pixels,
        render_seconds = usage_days.render_seconds + excluded.render_seconds
"""  # noqa: S608 -- constants


def upgrade() -> None:
    # On Postgres the first index locks `jobs` against writers, so that no job ends unseen while the sums are built.
    for name, table, columns, status in _indexes():
        where = sa.text(f"status = '{status}'")
        op.create_index(name, table, columns, unique=False, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "usage_days",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.String(length=120), nullable=False),
        sa.Column("part", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("pixels", sa.BigInteger(), nullable=False),
        sa.Column("render_seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("day", "owner", "part", name=op.f("pk_usage_days")),
    )
    op.create_index("ix_usage_days_owner_day", "usage_days", ["owner", "day"], unique=False)
    _fill()


def _fill() -> None:
    """Add the jobs of this database, some thousands at a time, so that memory is bounded."""
    bind, after = op.get_bind(), ""
    while ids := bind.execute(sa.text(_JOBS), {"after": after, "batch": _BATCH}).scalars().all():
        bind.execute(sa.text(_ADD), {"after": after, "last": ids[-1]})
        after = ids[-1]


def downgrade() -> None:
    op.drop_index("ix_usage_days_owner_day", "usage_days")
    op.drop_table("usage_days")
    for name, table, _, status in _indexes():
        where = sa.text(f"status = '{status}'")
        op.drop_index(name, table, sqlite_where=where, postgresql_where=where)


def _indexes() -> list[tuple[str, str, list[str], str]]:
    """Return name, table, columns and status of each index of this migration."""
    jobs = [(f"ix_jobs_{status}", "jobs", ["id"], status) for status in _JOB_STATUSES if status not in _HAD_INDEX]
    jobs += [(f"ix_jobs_{status}_owner", "jobs", ["owner", "id"], status) for status in _JOB_STATUSES]
    for status in _DELIVERY_STATUSES:
        jobs.append((f"ix_webhook_deliveries_{status}", "webhook_deliveries", ["id"], status))
        jobs.append((f"ix_webhook_deliveries_{status}_owner", "webhook_deliveries", ["owner", "id"], status))
    return jobs
