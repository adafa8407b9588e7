"""Lines of an offer of several writes, and lines that undo. A line of before is an offer of one write: it names no offer."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("actions") as batch_op:
        batch_op.add_column(sa.Column("offer_id", sa.String(length=64), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("step", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("undoes", sa.String(length=64), nullable=False, server_default=""))
        batch_op.create_index(batch_op.f("ix_actions_offer_id"), ["offer_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("actions") as batch_op:
        batch_op.drop_index(batch_op.f("ix_actions_offer_id"))
        batch_op.drop_column("undoes")
        batch_op.drop_column("step")
        batch_op.drop_column("offer_id")
