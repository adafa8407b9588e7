"""The tables. Alembic's migrations make them; a test proves both agree."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMES)


class Moment(TypeDecorator[datetime]):
    """An aware time. SQLite forgets the zone: what is stored is UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None or value.tzinfo is not None else value.replace(tzinfo=UTC)


sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("customer_id", String(128), nullable=False),
    Column("pack", String(64), nullable=False),
    Column("tenant", String(64), nullable=False, server_default=""),
    Column("created_at", Moment(), nullable=False),
    Column("lease_holder", String(64)),
    Column("lease_until", Moment()),
    Index(None, "customer_id"),
)
# Only the few sessions that are being answered stand in it. It does not hold `lease_until`: renewing a lease leaves it alone.
Index(
    "ix_sessions_leased",
    sessions.c.id,
    postgresql_where=sessions.c.lease_holder.is_not(None),
    sqlite_where=sessions.c.lease_holder.is_not(None),
)

events = Table(
    "events",
    metadata,
    Column("session_id", String(64), ForeignKey("sessions.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", String(40), nullable=False),
    Column("body", Text, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("personal_digest", String(64)),
    Column("signature", String(128)),
)

personal = Table(
    "personal",
    metadata,
    Column("session_id", String(64), ForeignKey("sessions.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("salt", String(32), nullable=False),
    Column("body", Text, nullable=False),
)

heads = Table(
    "heads",
    metadata,
    Column("session_id", String(64), ForeignKey("sessions.id"), primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("signature", String(128), nullable=False),
)

turns = Table(
    "turns",
    metadata,
    Column("turn_id", String(64), primary_key=True),
    Column("session_id", String(64), ForeignKey("sessions.id"), nullable=False),
    Column("idempotency_key", String(200)),
    UniqueConstraint("session_id", "idempotency_key"),
    Index(None, "idempotency_key"),
)

actions = Table(
    "actions",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("session_id", String(64), nullable=False),
    Column("customer_id", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("args", JSON, nullable=False),
    Column("amount_cents", BigInteger),
    Column("status", String(16), nullable=False),
    Column("result", JSON, nullable=False),
    Column("at", Moment(), nullable=False),
    Column("offer_id", String(64), nullable=False, server_default=""),
    Column("step", Integer, nullable=False, server_default="0"),
    Column("undoes", String(64), nullable=False, server_default=""),
    Index(None, "customer_id", "at"),
    Index(None, "status"),
    Index(None, "offer_id"),
)

handoffs = Table(
    "handoffs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("session_id", String(64), ForeignKey("sessions.id"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("owner", String(128), nullable=False),
    Column("due_at", Moment(), nullable=False),
    Column("claimed_by", String(160)),
    Column("claimed_at", Moment()),
    Column("closed_at", Moment()),
    Index(None, "due_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("scopes", String(200), nullable=False),
    Column("turns_in_flight", Integer),
    Column("tokens_per_minute", Integer),
    Column("weight", Float, nullable=False),
    Column("created_at", Moment(), nullable=False),
    Column("revoked_at", Moment()),
)

desks = Table(
    "desks",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("seen_at", Moment(), nullable=False),
)
