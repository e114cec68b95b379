"""The first tables: jobs, keys, schemas, field tables, aliases."""

import sqlalchemy as sa
from alembic import op

from services.shared.storage.tables import create_shared_tables, drop_shared_tables

revision = "llm_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    create_shared_tables()
    op.create_table(
        "llm_schemas",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("registered_at", sa.Double, nullable=False),
        sa.UniqueConstraint("name", "fingerprint", name="uq_llm_schemas_fingerprint"),
    )
    op.create_table(
        "llm_field_tables",
        sa.Column("schema_name", sa.String(100), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("recipe", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("field_count", sa.Integer, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("file_digest", sa.String(64), nullable=False),
        sa.Column("adapter_digest", sa.String(64)),
        sa.Column("parent", sa.String(64)),
        sa.Column("job_id", sa.String(32)),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("ix_llm_field_tables_recipe", "llm_field_tables", ["schema_name", "recipe"])
    op.create_table(
        "llm_table_aliases",
        sa.Column("schema_name", sa.String(100), primary_key=True),
        sa.Column("alias", sa.String(50), primary_key=True),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("moved_at", sa.Double, nullable=False),
        sa.ForeignKeyConstraint(
            ["schema_name", "version"], ["llm_field_tables.schema_name", "llm_field_tables.version"]
        ),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("llm_table_aliases")
    op.drop_table("llm_field_tables")
    op.drop_table("llm_schemas")
    drop_shared_tables()
