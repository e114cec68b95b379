"""The tables that every service has, as the migrations of each make them."""

import sqlalchemy as sa
from alembic import op


def create_shared_tables() -> None:
    """Create `jobs` and `api_keys` as the first revision of a service has them."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("kind", sa.String(50), nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("active_key", sa.String(200), unique=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("step", sa.Integer),
        sa.Column("loss", sa.Double),
        sa.Column("eta_s", sa.Double),
        sa.Column("result", sa.JSON(none_as_null=True)),
        sa.Column("error", sa.JSON(none_as_null=True)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("waits", sa.Integer, nullable=False),
        sa.Column("cancel_requested", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(200)),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
    )
    op.create_index("ix_jobs_state_created", "jobs", ["state", "created_at"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("revoked_at", sa.Double),
    )


def drop_shared_tables() -> None:
    """Drop what `create_shared_tables` made."""
    op.drop_table("api_keys")
    op.drop_table("jobs")


def add_lanes_and_audit() -> None:
    """What the second revision adds.

    Lanes, traces and fruitless attempts of jobs, calls that may be repeated, what keys are limited to, and the audit.
    """
    op.add_column("jobs", sa.Column("lane", sa.String(100), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("traceparent", sa.String(64)))
    op.add_column("jobs", sa.Column("fruitless", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("furthest", sa.Double, nullable=False, server_default="0"))
    op.create_index("ix_jobs_lane_started", "jobs", ["lane", "started_at"])
    op.create_table(
        "idempotency_keys",
        sa.Column("lane", sa.String(100), primary_key=True),
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(32), index=True),
        sa.Column("answer", sa.JSON(none_as_null=True)),
        sa.Column("at", sa.Double, nullable=False, index=True),
    )
    op.add_column("api_keys", sa.Column("scopes", sa.JSON(none_as_null=True)))
    op.create_table(
        "audit",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("at", sa.Double, nullable=False, index=True),
        sa.Column("key_id", sa.String(32)),
        sa.Column("key_name", sa.String(100)),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("method", sa.String(10), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("request_id", sa.String(100), nullable=False),
    )


def drop_lanes_and_audit() -> None:
    """Undo `add_lanes_and_audit`."""
    op.drop_table("audit")
    op.drop_column("api_keys", "scopes")
    op.drop_table("idempotency_keys")
    op.drop_index("ix_jobs_lane_started", "jobs")
    op.drop_column("jobs", "furthest")
    op.drop_column("jobs", "fruitless")
    op.drop_column("jobs", "traceparent")
    op.drop_column("jobs", "lane")


def add_key_rates() -> None:
    """What the third revision adds: the most requests per second that a key may make."""
    op.add_column("api_keys", sa.Column("rate_per_s", sa.Double))


def drop_key_rates() -> None:
    """Undo `add_key_rates`."""
    op.drop_column("api_keys", "rate_per_s")
