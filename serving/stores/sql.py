"""The store. Every append is one transaction; foreign errors are translated here and nowhere else."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, event, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from agents.domain.errors import KeepwordError, NotFound, TurnInProgress
from agents.domain.events import Event, HandoffRaised, SessionStarted, StoredEvent, TurnStarted
from agents.domain.words import ActionRecord, ActionStatus, Handoff
from agents.ports import Clock, Permits
from serving.stores import tables
from serving.stores.codec import GENESIS, action_fields, canonical, chained, event_fields, read_action, read_event
from serving.stores.migrate import upgrade

COUNTED = (ActionStatus.INTENDED.value, ActionStatus.DONE.value, ActionStatus.UNKNOWN.value)
OPEN = (ActionStatus.INTENDED.value, ActionStatus.UNKNOWN.value)


class StoreUnavailable(KeepwordError):
    """The database does not answer or refused the statement."""

    type = "store-unavailable"
    retryable = True
    hint = "Is the database up, and KEEPWORD_DATABASE_URL right?"


class SqlStore:
    """Implements `agents.ports.Store`. Build with `open`."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self.engine, self._clock = engine, clock

    @classmethod
    async def open(cls, url: str, clock: Clock) -> "SqlStore":
        """Connect and bring the schema up to date. Raises StoreUnavailable."""
        engine = create_async_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        if engine.dialect.name == "sqlite":
            event.listen(engine.sync_engine, "connect", _sqlite_pragmas)
        store = cls(engine, clock)
        async with store._transaction() as connection:
            await connection.run_sync(upgrade)
        return store

    async def close(self) -> None:
        await self.engine.dispose()

    async def append(self, session_id: str, events: Sequence[Event], *, expected_seq: int) -> tuple[StoredEvent, ...]:
        async with self._transaction() as connection:
            if expected_seq == 0:
                await connection.execute(insert(tables.sessions).values(self._session_row(session_id, events[0])))
                before = GENESIS
            else:
                before = await self._hash_at(connection, session_id, expected_seq)
            stored: list[StoredEvent] = []
            for offset, each in enumerate(events, 1):
                seq, at = expected_seq + offset, self._clock.now()
                body = canonical(event_fields(each))
                before = chained(before, seq, at.isoformat(), body)
                row = {"session_id": session_id, "seq": seq, "at": at.isoformat(), "body": body, "hash": before}
                await connection.execute(insert(tables.events).values(row))
                await self._project(connection, session_id, each)
                stored.append(StoredEvent(seq, at, each, before))
            return tuple(stored)

    async def events(self, session_id: str, *, after_seq: int = 0) -> tuple[StoredEvent, ...]:
        query = (
            select(tables.events)
            .where(tables.events.c.session_id == session_id, tables.events.c.seq > after_seq)
            .order_by(tables.events.c.seq)
        )
        async with self._transaction() as connection:
            rows = (await connection.execute(query)).mappings().all()
            if not rows:
                await self._session(connection, session_id)
            return tuple(_stored(row) for row in rows)

    async def session_customer(self, session_id: str) -> str:
        """The customer a session is bound to. Raises NotFound."""
        async with self._transaction() as connection:
            return str((await self._session(connection, session_id))["customer_id"])

    async def acquire_lease(self, session_id: str, holder: str, *, ttl_s: float) -> bool:
        now, c = self._clock.now(), tables.sessions.c
        free = or_(c.lease_holder.is_(None), c.lease_holder == holder, c.lease_until < now)
        taken = {"lease_holder": holder, "lease_until": now + timedelta(seconds=ttl_s)}
        async with self._transaction() as connection:
            await self._session(connection, session_id)
            result = await connection.execute(update(tables.sessions).where(c.id == session_id, free).values(taken))
            return bool(result.rowcount)

    async def release_lease(self, session_id: str, holder: str) -> None:
        c = tables.sessions.c
        query = update(tables.sessions).where(c.id == session_id, c.lease_holder == holder)
        async with self._transaction() as connection:
            await connection.execute(query.values(lease_holder=None, lease_until=None))

    async def turn_by_key(self, session_id: str, idempotency_key: str) -> str | None:
        c = tables.turns.c
        query = select(c.turn_id).where(c.session_id == session_id, c.idempotency_key == idempotency_key)
        async with self._transaction() as connection:
            found = (await connection.execute(query)).scalar_one_or_none()
            return None if found is None else str(found)

    async def intend(
        self, record: ActionRecord, *, permits: Permits | None = None, since: datetime | None = None
    ) -> ActionRecord:
        c = tables.actions.c
        async with self._transaction() as connection:
            await self._take_turn(connection, record.customer_id)
            row = (await connection.execute(select(tables.actions).where(c.key == record.key))).mappings().one_or_none()
            if row is not None and (row["status"] != ActionStatus.FAILED.value or row["customer_id"] != record.customer_id):
                return _action(row)
            if permits is not None:
                others = select(tables.actions).where(c.customer_id == record.customer_id, c.status.in_(COUNTED))
                others = others.where(c.at >= since) if since is not None else others
                lines = (await connection.execute(others.order_by(c.at))).mappings().all()
                if not permits([_action(line) for line in lines]):
                    record = replace(record, status=ActionStatus.FAILED, result={"reason": "no longer permitted"})
            values = _action_row(record)
            write = insert(tables.actions) if row is None else update(tables.actions).where(c.key == record.key)
            await connection.execute(write.values(values))
            return record

    async def settle(self, record: ActionRecord) -> None:
        values = {"status": record.status.value, "result": action_fields(record)["result"]}
        async with self._transaction() as connection:
            await connection.execute(update(tables.actions).where(tables.actions.c.key == record.key).values(values))

    async def actions(self, customer_id: str, *, since: datetime) -> tuple[ActionRecord, ...]:
        c = tables.actions.c
        query = select(tables.actions).where(c.customer_id == customer_id, c.at >= since, c.status.in_(COUNTED)).order_by(c.at)
        return await self._action_rows(query)

    async def unsettled(self) -> tuple[ActionRecord, ...]:
        c = tables.actions.c
        return await self._action_rows(select(tables.actions).where(c.status.in_(OPEN)).order_by(c.at))

    async def handoffs(self) -> tuple[Handoff, ...]:
        """Every promised handoff, the most urgent first."""
        async with self._transaction() as connection:
            rows = (await connection.execute(select(tables.handoffs).order_by(tables.handoffs.c.due_at))).mappings().all()
        return tuple(Handoff(row["id"], row["session_id"], row["reason"], row["owner"], _aware(row["due_at"])) for row in rows)

    async def ping(self) -> None:
        """Raises StoreUnavailable when the database does not answer."""
        async with self._transaction() as connection:
            await connection.execute(select(1))

    async def _take_turn(self, connection: AsyncConnection, customer_id: str) -> None:
        """One customer's intents one after the other, until the transaction ends. SQLite has one writer at all."""
        if self.engine.dialect.name == "sqlite":
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            lock = func.pg_advisory_xact_lock(func.hashtextextended(customer_id, 0))
            await connection.execute(select(lock))

    async def _action_rows(self, query: Any) -> tuple[ActionRecord, ...]:
        async with self._transaction() as connection:
            return tuple(_action(row) for row in (await connection.execute(query)).mappings().all())

    async def _session(self, connection: AsyncConnection, session_id: str) -> RowMapping:
        query = select(tables.sessions).where(tables.sessions.c.id == session_id)
        row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"no session {session_id!r}", hint="Open one with POST /v1/sessions.")
        return row

    async def _hash_at(self, connection: AsyncConnection, session_id: str, seq: int) -> str:
        c = tables.events.c
        found = await connection.execute(select(c.hash).where(c.session_id == session_id, c.seq == seq))
        value = found.scalar_one_or_none()
        if value is None:
            raise NotFound(f"session {session_id!r} has no event {seq}")
        return str(value)

    def _session_row(self, session_id: str, first: Event) -> dict[str, Any]:
        if not isinstance(first, SessionStarted):
            raise TypeError("a session begins with SessionStarted")
        return {
            "id": session_id,
            "customer_id": first.customer_id,
            "pack": first.pack,
            "created_at": self._clock.now(),
        }

    async def _project(self, connection: AsyncConnection, session_id: str, each: Event) -> None:
        """Rows that make an event findable without reading every session."""
        if isinstance(each, TurnStarted):
            row = {"turn_id": each.turn_id, "session_id": session_id, "idempotency_key": each.idempotency_key}
            await connection.execute(insert(tables.turns).values(row))
        elif isinstance(each, HandoffRaised):
            h = each.handoff
            row = {"id": h.id, "session_id": session_id, "reason": h.reason, "owner": h.owner}
            await connection.execute(insert(tables.handoffs).values(**row, due_at=h.due_at))

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[AsyncConnection, None]:
        try:
            async with self.engine.begin() as connection:
                yield connection
        except IntegrityError as error:
            raise TurnInProgress("another message of this session was first") from error
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(f"the database does not answer: {type(error).__name__}") from error


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _stored(row: RowMapping) -> StoredEvent:
    return StoredEvent(row["seq"], datetime.fromisoformat(row["at"]), read_event(row["body"]), row["hash"])


def _action_row(record: ActionRecord) -> dict[str, Any]:
    fields = action_fields(record)
    proposal = fields.pop("proposal")
    return {**fields, "action": proposal["action"], "args": proposal["args"], "at": record.at or datetime.now(UTC)}


def _action(row: RowMapping) -> ActionRecord:
    fields = dict(row)
    fields["proposal"] = {"action": fields.pop("action"), "args": fields.pop("args")}
    return read_action(fields | {"at": _aware(row["at"])})


def _aware(at: datetime) -> datetime:
    """SQLite forgets the zone: what is stored is UTC."""
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
