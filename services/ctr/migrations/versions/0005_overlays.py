"""Rows of values that appeared after training."""

import sqlalchemy as sa
from alembic import op

revision = "ctr_0005"
down_revision = "ctr_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them."""
    op.create_table(
        "ctr_overlays",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("version", sa.String(128), primary_key=True),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
    )
    op.create_table(
        "ctr_overlay_values",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("field", sa.String(200), nullable=False),
        sa.Column("value", sa.String(256), nullable=False),
        sa.Column("row", sa.LargeBinary, nullable=False),
        sa.Column("scene", sa.LargeBinary),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.UniqueConstraint("model", "version", "field", "value", name="uq_ctr_overlay_values"),
    )


def downgrade() -> None:
    """Take them away."""
    op.drop_table("ctr_overlay_values")
    op.drop_table("ctr_overlays")
