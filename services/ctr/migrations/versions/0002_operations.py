"""Lanes, traces, key scopes and the audit."""

from services.shared.storage.tables import add_lanes_and_audit, drop_lanes_and_audit

revision = "ctr_0002"
down_revision = "ctr_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them."""
    add_lanes_and_audit()


def downgrade() -> None:
    """Drop them."""
    drop_lanes_and_audit()
