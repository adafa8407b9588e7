"""API keys, the tenant of a session, who has a handoff, and which desk replicas live."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.String(length=200), nullable=False),
        sa.Column("turns_in_flight", sa.Integer(), nullable=True),
        sa.Column("tokens_per_minute", sa.Integer(), nullable=True),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_table(
        "desks",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_desks")),
    )
    with op.batch_alter_table("sessions") as batch_op:
        batch_op.add_column(sa.Column("tenant", sa.String(length=64), nullable=False, server_default=""))
    with op.batch_alter_table("handoffs") as batch_op:
        batch_op.add_column(sa.Column("claimed_by", sa.String(length=160), nullable=True))
        batch_op.add_column(sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True))
    _tell_tenants()


def _tell_tenants() -> None:
    """Sessions of before say in their first event whose tenant they are."""
    connection = op.get_bind()
    first = sa.text("SELECT session_id, body FROM events WHERE seq = 1 AND body LIKE '%\"tenant\":%'")
    tell = sa.text("UPDATE sessions SET tenant = :tenant WHERE id = :id")
    for session_id, body in connection.execute(first).fetchall():
        if tenant := json.loads(body).get("tenant"):
            connection.execute(tell, {"tenant": tenant, "id": session_id})


def downgrade() -> None:
    with op.batch_alter_table("handoffs") as batch_op:
        for column in ("closed_at", "claimed_at", "claimed_by"):
            batch_op.drop_column(column)
    with op.batch_alter_table("sessions") as batch_op:
        batch_op.drop_column("tenant")
    op.drop_table("desks")
    op.drop_table("api_keys")
