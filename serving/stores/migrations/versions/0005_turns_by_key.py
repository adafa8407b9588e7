"""Turns are found by their idempotency key alone: that is how a client without memory finds its session."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_turns_idempotency_key"), "turns", ["idempotency_key"])


def downgrade() -> None:
    op.drop_index(op.f("ix_turns_idempotency_key"), table_name="turns")
