"""Experiments and shadows, logged scores, labels, drift, and live numbers."""

import sqlalchemy as sa
from alembic import op

revision = "ctr_0004"
down_revision = "ctr_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them."""
    op.create_table(
        "ctr_traffic",
        sa.Column("model", sa.String(100), sa.ForeignKey("ctr_models.name"), primary_key=True),
        sa.Column("plan", sa.JSON, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
    )
    _create_log()
    op.create_table(
        "ctr_drift",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("version", sa.String(128), primary_key=True),
        sa.Column("hour", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("field", sa.String(200), primary_key=True),
        sa.Column("bin", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
    )
    sums = ("difference", "largest", "a", "b", "aa", "bb", "ab")
    op.create_table(
        "ctr_shadow",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("version", sa.String(128), primary_key=True),
        sa.Column("shadow", sa.String(128), primary_key=True),
        sa.Column("hour", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in sums),
    )
    op.create_table(
        "ctr_live",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("numbers", sa.JSON, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )


def _create_log() -> None:
    op.create_table(
        "ctr_scores",
        sa.Column("request_id", sa.String(200), primary_key=True),
        sa.Column("row", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("version", sa.String(128), primary_key=True),
        sa.Column("row_id", sa.String(200)),
        sa.Column("arm", sa.String(100)),
        sa.Column("shadow", sa.SmallInteger, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_index("ix_ctr_scores_model_at", "ctr_scores", ["model", "at"])
    named = sa.text("row_id IS NOT NULL")
    op.create_index("ix_ctr_scores_row_id", "ctr_scores", ["row_id"], postgresql_where=named, sqlite_where=named)
    op.create_table(
        "ctr_outcomes",
        sa.Column("request_id", sa.String(200), primary_key=True),
        sa.Column("row", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("row_id", sa.String(200), primary_key=True),
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("label", sa.SmallInteger, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_index("ix_ctr_outcomes_at", "ctr_outcomes", ["at"])


def downgrade() -> None:
    """Drop them."""
    for name in ("ctr_live", "ctr_shadow", "ctr_drift", "ctr_outcomes", "ctr_scores", "ctr_traffic"):
        op.drop_table(name)
