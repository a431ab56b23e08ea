"""Prompts of ComfyUI's face, their jobs, and the names of its uploads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_OPEN = sa.text("completed_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "comfyui_prompts",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("owner", sa.String(length=120), nullable=False),
        sa.Column("prompt_id", sa.String(length=100), nullable=False),
        sa.Column("client_id", sa.String(length=100), nullable=True),
        sa.Column("number", sa.Double(), nullable=False),
        sa.Column("prompt", sa.JSON(), nullable=False),
        sa.Column("extra_data", sa.JSON(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("completed_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comfyui_prompts")),
        sa.UniqueConstraint("owner", "prompt_id", name=op.f("uq_comfyui_prompts_owner_prompt_id")),
    )
    op.create_index("ix_comfyui_prompts_owner_id", "comfyui_prompts", ["owner", "id"], unique=False)
    op.create_index(
        "ix_comfyui_prompts_open",
        "comfyui_prompts",
        ["id"],
        unique=False,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
    op.create_table(
        "comfyui_jobs",
        sa.Column("prompt", sa.String(length=36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["prompt"],
            ["comfyui_prompts.id"],
            name=op.f("fk_comfyui_jobs_prompt_comfyui_prompts"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("prompt", "position", name=op.f("pk_comfyui_jobs")),
    )
    op.create_index("ix_comfyui_jobs_job_id", "comfyui_jobs", ["job_id"], unique=False)
    op.create_table(
        "comfyui_inputs",
        sa.Column("owner", sa.String(length=120), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("upload_id", sa.String(length=36), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.id"], name=op.f("fk_comfyui_inputs_upload_id_uploads"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("owner", "name", name=op.f("pk_comfyui_inputs")),
    )
    op.create_index("ix_comfyui_inputs_upload_id", "comfyui_inputs", ["upload_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_comfyui_inputs_upload_id", table_name="comfyui_inputs")
    op.drop_table("comfyui_inputs")
    op.drop_index("ix_comfyui_jobs_job_id", table_name="comfyui_jobs")
    op.drop_table("comfyui_jobs")
    op.drop_index("ix_comfyui_prompts_open", table_name="comfyui_prompts", sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.drop_index("ix_comfyui_prompts_owner_id", table_name="comfyui_prompts")
    op.drop_table("comfyui_prompts")
