"""An index of the sessions that are being answered: what looks for dead turns reads nothing else."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LEASED = sa.text("lease_holder IS NOT NULL")


def upgrade() -> None:
    op.create_index("ix_sessions_leased", "sessions", ["id"], postgresql_where=LEASED, sqlite_where=LEASED)


def downgrade() -> None:
    op.drop_index("ix_sessions_leased", table_name="sessions")
