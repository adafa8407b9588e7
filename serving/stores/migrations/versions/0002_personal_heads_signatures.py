"""Personal data beside the chain, signed events and heads. Events of before keep their bodies whole and have no signature."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("events") as batch_op:
        batch_op.add_column(sa.Column("personal_digest", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("signature", sa.String(length=128), nullable=True))
    op.create_table(
        "personal",
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_personal_session_id")),
        sa.PrimaryKeyConstraint("session_id", "seq", name=op.f("pk_personal")),
    )
    op.create_table(
        "heads",
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_heads_session_id")),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_heads")),
    )


def downgrade() -> None:
    op.drop_table("heads")
    op.drop_table("personal")
    with op.batch_alter_table("events") as batch_op:
        batch_op.drop_column("signature")
        batch_op.drop_column("personal_digest")
