"""The store. Every append is one transaction; foreign errors are translated here and nowhere else."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import RowMapping, Select, Table, and_, delete, event, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from agents.domain.errors import KeepwordError, NotFound, TurnInProgress
from agents.domain.events import Event, HandoffRaised, PersonalErased, SessionStarted, StoredEvent, TurnStarted
from agents.domain.words import ActionRecord, Handoff
from agents.ports import Clock, Permits
from serving.stores import lines, tables
from serving.stores.audit import Damage, examine
from serving.stores.codec import GENESIS, canonical, chained, event_fields, read_event
from serving.stores.migrate import upgrade
from serving.stores.personal import merged, read, salted, split
from serving.stores.signing import Signer, Verifier, event_text, head_text


class StoreUnavailable(KeepwordError):
    """The database does not answer or refused the statement."""

    type = "store-unavailable"
    retryable = True
    hint = "Is the database up, and KEEPWORD_DATABASE_URL right?"


class SqlStore:
    """Implements `agents.ports.Store`. Build with `open`."""

    def __init__(self, engine: AsyncEngine, clock: Clock, signer: Signer) -> None:
        self.engine, self._clock, self._signer = engine, clock, signer

    @classmethod
    async def open(cls, url: str, clock: Clock, signer: Signer) -> "SqlStore":
        """Connect and bring the schema up to date. `signer` signs the log. Raises StoreUnavailable."""
        engine = create_async_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        if engine.dialect.name == "sqlite":
            event.listen(engine.sync_engine, "connect", _sqlite_pragmas)
        store = cls(engine, clock, signer)
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
                before = await self._write(connection, session_id, seq, at, each, before)
                await self._project(connection, session_id, each)
                stored.append(StoredEvent(seq, at, each, before))
            await self._set_head(connection, session_id, stored[-1])
            return tuple(stored)

    async def erase(self, customer_id: str) -> int:
        """Remove a customer's personal data from every session and ledger line, and say so in each log; how many sessions it
        was. Caps still count the lines, under a pseudonym. Raises TurnInProgress while an action of theirs is open or a
        session answers."""
        c, pseudonym = tables.actions.c, f"erased-{uuid4().hex}"
        async with self._transaction() as connection:
            await self._take_turn(connection, customer_id)
            mine = (c.customer_id == customer_id, c.status.in_(lines.OPEN))
            if (await connection.execute(select(c.key).where(*mine).limit(1))).first() is not None:
                raise TurnInProgress("an action of this customer is still open", hint="Try again when it is settled.")
            await connection.execute(
                update(tables.actions).where(c.customer_id == customer_id).values(customer_id=pseudonym, args={}, result={})
            )
            s = tables.sessions.c
            rows = (await connection.execute(select(tables.sessions).where(s.customer_id == customer_id))).mappings().all()
            for row in rows:
                await self._erase_session(connection, row)
            await connection.execute(update(tables.sessions).where(s.customer_id == customer_id).values(customer_id=pseudonym))
            return len(rows)

    async def audit(self, session_id: str, verifier: Verifier) -> list[Damage]:
        """What is wrong with a session's log. Raises NotFound when there is nothing of it at all."""

        def of_session(table: Table) -> Select[Any]:
            return select(table).where(table.c.session_id == session_id)

        async with self._transaction() as connection:
            rows = {
                table.name: [dict(row) for row in (await connection.execute(of_session(table))).mappings()]
                for table in (tables.events, tables.personal, tables.heads)
            }
            if not rows["events"] and not rows["heads"]:
                await self._session(connection, session_id)
        personal = {int(row["seq"]): row for row in rows["personal"]}
        return examine(session_id, rows["events"], personal, next(iter(rows["heads"]), None), verifier)

    async def session_ids(self) -> tuple[str, ...]:
        """Every session, oldest first."""
        query = select(tables.sessions.c.id).order_by(tables.sessions.c.created_at, tables.sessions.c.id)
        async with self._transaction() as connection:
            return tuple((await connection.execute(query)).scalars().all())

    async def events(self, session_id: str, *, after_seq: int = 0) -> tuple[StoredEvent, ...]:
        e, p = tables.events.c, tables.personal.c
        beside = and_(p.session_id == e.session_id, p.seq == e.seq)
        query = (
            select(tables.events, p.body.label("personal"))
            .select_from(tables.events.outerjoin(tables.personal, beside))
            .where(e.session_id == session_id, e.seq > after_seq)
            .order_by(e.seq)
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
        self,
        record: ActionRecord,
        *,
        then: Sequence[ActionRecord] = (),
        permits: Permits | None = None,
        since: datetime | None = None,
    ) -> ActionRecord:
        async with self._transaction() as connection:
            await self._take_turn(connection, record.customer_id)
            return await lines.intend(connection, record, then, permits, since)

    async def begin(self, record: ActionRecord) -> bool:
        async with self._transaction() as connection:
            return await lines.begin(connection, record)

    async def settle(self, record: ActionRecord, then: Sequence[ActionRecord] = ()) -> None:
        async with self._transaction() as connection:
            await lines.settle(connection, record, then)

    async def lines(self, offer_id: str) -> tuple[ActionRecord, ...]:
        return lines.in_order(await self._lines(lines.of_offer(offer_id)))

    async def actions(self, customer_id: str, *, since: datetime) -> tuple[ActionRecord, ...]:
        return await self._lines(lines.counted(customer_id, since))

    async def unsettled(self) -> tuple[ActionRecord, ...]:
        return await self._lines(lines.unsettled())

    async def handoffs(self) -> tuple[Handoff, ...]:
        """Every promised handoff, the most urgent first."""
        async with self._transaction() as connection:
            rows = (await connection.execute(select(tables.handoffs).order_by(tables.handoffs.c.due_at))).mappings().all()
        return tuple(
            Handoff(row["id"], row["session_id"], row["reason"], row["owner"], lines.aware(row["due_at"])) for row in rows
        )

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

    async def _lines(self, query: Select[Any]) -> tuple[ActionRecord, ...]:
        async with self._transaction() as connection:
            return await lines.read(connection, query)

    async def _write(
        self, connection: AsyncConnection, session_id: str, seq: int, at: datetime, each: Event, before: str
    ) -> str:
        """One event's rows; its hash."""
        public, personal = split(event_fields(each))
        body, personal_digest, place = canonical(public), None, {"session_id": session_id, "seq": seq}
        if personal:
            beside = canonical(personal)
            salt, personal_digest = salted(beside)
            await connection.execute(insert(tables.personal).values(**place, salt=salt, body=beside))
        after = chained(before, seq, at.isoformat(), body, personal_digest)
        signature = self._signer.sign(event_text(session_id, seq, after))
        row = {"at": at.isoformat(), "body": body, "hash": after, "personal_digest": personal_digest, "signature": signature}
        await connection.execute(insert(tables.events).values(**place, **row))
        return after

    async def _set_head(self, connection: AsyncConnection, session_id: str, last: StoredEvent) -> None:
        signature = self._signer.sign(head_text(session_id, last.seq, last.hash))
        values = {"seq": last.seq, "hash": last.hash, "signature": signature}
        moved = await connection.execute(update(tables.heads).where(tables.heads.c.session_id == session_id).values(values))
        if not moved.rowcount:
            await connection.execute(insert(tables.heads).values(session_id=session_id, **values))

    async def _erase_session(self, connection: AsyncConnection, session: RowMapping) -> None:
        session_id, until = str(session["id"]), session["lease_until"]
        if session["lease_holder"] is not None and until is not None and lines.aware(until) > self._clock.now():
            raise TurnInProgress("a session of this customer is answering", hint="Try again in a moment.")
        e = tables.events.c
        last = (
            await connection.execute(select(e.seq, e.hash).where(e.session_id == session_id).order_by(e.seq.desc()).limit(1))
        ).one()
        await connection.execute(delete(tables.personal).where(tables.personal.c.session_id == session_id))
        erased, at = PersonalErased(), self._clock.now()
        after = await self._write(connection, session_id, last.seq + 1, at, erased, last.hash)
        await self._set_head(connection, session_id, StoredEvent(last.seq + 1, at, erased, after))

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
    fields = merged(read(row["body"]), read(row["personal"]) if row["personal"] is not None else None)
    return StoredEvent(row["seq"], datetime.fromisoformat(row["at"]), read_event(fields), row["hash"])
