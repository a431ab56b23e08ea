"""Collections of images, and an index for the gallery of one owner."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "collections",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("owner", sa.String(length=120), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_collections")),
    )
    op.create_index("uq_collections_owner_name", "collections", ["owner", "name"], unique=True)
    op.create_table(
        "collection_images",
        sa.Column("collection_id", sa.String(length=36), nullable=False),
        sa.Column("image_id", sa.String(length=36), nullable=False),
        sa.Column("added_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["collections.id"],
            name=op.f("fk_collection_images_collection_id_collections"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_collection_images_image_id_images"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("collection_id", "image_id", name=op.f("pk_collection_images")),
    )
    op.create_index("ix_collection_images_image_id", "collection_images", ["image_id"])
    op.create_index("ix_images_owner_id", "images", ["owner", "id"])


def downgrade() -> None:
    op.drop_index("ix_images_owner_id", table_name="images")
    op.drop_index("ix_collection_images_image_id", table_name="collection_images")
    op.drop_table("collection_images")
    op.drop_index("uq_collections_owner_name", table_name="collections")
    op.drop_table("collections")
