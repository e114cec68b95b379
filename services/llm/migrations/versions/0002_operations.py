"""Lanes, traces, key scopes, the audit, and the vectors of texts that were embedded before."""

import sqlalchemy as sa
from alembic import op

from services.shared.storage.tables import add_lanes_and_audit, drop_lanes_and_audit

revision = "llm_0002"
down_revision = "llm_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them."""
    add_lanes_and_audit()
    op.add_column("llm_field_tables", sa.Column("extended", sa.JSON(none_as_null=True)))
    op.create_table(
        "llm_embeddings",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("tokens", sa.Integer, nullable=False),
        sa.Column("used_at", sa.Double, nullable=False, index=True),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("llm_embeddings")
    op.drop_column("llm_field_tables", "extended")
    drop_lanes_and_audit()
