"""Jobs, keys, and the model registry."""

import sqlalchemy as sa
from alembic import op

from services.shared.storage.tables import create_shared_tables, drop_shared_tables

revision = "ctr_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    create_shared_tables()
    op.create_table(
        "ctr_models",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_table(
        "ctr_versions",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("model", sa.String(100), sa.ForeignKey("ctr_models.name"), nullable=False),
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("lineage", sa.JSON, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.UniqueConstraint("model", "version", name="uq_ctr_versions"),
    )
    op.create_table(
        "ctr_aliases",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("alias", sa.String(100), primary_key=True),
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.ForeignKeyConstraint(
            ["model", "version"], ["ctr_versions.model", "ctr_versions.version"], name="fk_ctr_aliases_version"
        ),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("ctr_aliases", "ctr_versions", "ctr_models"):
        op.drop_table(name)
    drop_shared_tables()
