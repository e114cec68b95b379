"""The rates of keys, the history of alias moves, and the schedules of refreshes."""

import sqlalchemy as sa
from alembic import op

from services.shared.storage.tables import add_key_rates, drop_key_rates

revision = "ctr_0003"
down_revision = "ctr_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them."""
    add_key_rates()
    op.create_table(
        "ctr_moves",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("model", sa.String(100), sa.ForeignKey("ctr_models.name"), nullable=False),
        sa.Column("alias", sa.String(100), nullable=False),
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("previous", sa.String(128)),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("gate", sa.JSON(none_as_null=True)),
        sa.Column("by", sa.String(100)),
        sa.Column("job", sa.String(32)),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_index("ix_ctr_moves_model_alias", "ctr_moves", ["model", "alias", "number"])
    op.create_table(
        "ctr_schedules",
        sa.Column("model", sa.String(100), sa.ForeignKey("ctr_models.name"), primary_key=True),
        sa.Column("every_s", sa.Double),
        sa.Column("on_new_table", sa.Integer, nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("next_at", sa.Double),
        sa.Column("tried_table", sa.String(128)),
        sa.Column("last_job", sa.String(32)),
        sa.Column("updated_at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("ctr_schedules")
    op.drop_index("ix_ctr_moves_model_alias", "ctr_moves")
    op.drop_table("ctr_moves")
    drop_key_rates()
