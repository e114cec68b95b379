"""The most requests per second that a key may make."""

from services.shared.storage.tables import add_key_rates, drop_key_rates

revision = "llm_0003"
down_revision = "llm_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    add_key_rates()


def downgrade() -> None:
    """Drop it."""
    drop_key_rates()
