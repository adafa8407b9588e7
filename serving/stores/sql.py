"""The store. Every append is one transaction; foreign errors are translated here and nowhere else."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import cycle
from typing import Any, Self
from uuid import uuid4

from sqlalchemy import Connection, RowMapping, Select, Table, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agents.domain.errors import TurnInProgress
from agents.domain.events import Event, PersonalErased, StoredEvent
from agents.domain.words import ActionRecord
from agents.ports import Clock, Lease, Permits, TurnOpening
from serving.stores import lines, tables
from serving.stores.audit import Damage, examine
from serving.stores.chain import link
from serving.stores.engines import lanes, pooled
from serving.stores.errors import StoreUnavailable
from serving.stores.lanes import Lane
from serving.stores.lines import Asked
from serving.stores.log import SESSION, Log, no_session
from serving.stores.migrate import upgrade
from serving.stores.signing import Signer, Verifier
from serving.stores.watchdog import HANGS_AFTER_S, watched

__all__ = ["SqlStore", "StoreUnavailable"]
UPGRADE_LOCK = 0x6B777570  # any number that only upgrades lock
MANY = 16  # sessions whose conversations are alike word for word


class SqlStore:
    """Implements `agents.ports.Store`. Build with `open`. The sessions' logs go through lanes, the rest through `engine`."""

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        signer: Signer,
        writers: Sequence[Lane],
        readers: Sequence[Lane],
        *,
        hangs_after_s: float = HANGS_AFTER_S,
    ) -> None:
        self.engine, self._clock, self._signer = engine, clock, signer
        self._hangs_after_s = hangs_after_s
        self._log = Log(clock, signer, writers[0].dialect)
        self._lanes = (*writers, *readers)
        self._writer, self._reader = cycle(writers), cycle(readers)

    @classmethod
    async def open(cls, url: str, clock: Clock, signer: Signer, *, hangs_after_s: float = HANGS_AFTER_S) -> Self:
        """Connect and bring the schema up to date. `signer` signs the log. A transaction that takes `hangs_after_s` is cut
        (PostgreSQL; SQLite has its own limit). Raises StoreUnavailable."""
        store = cls(pooled(url), clock, signer, *lanes(url, hangs_after_s), hangs_after_s=hangs_after_s)
        async with _translated(), store.engine.begin() as connection:
            if store.engine.dialect.name == "postgresql":  # replicas that start together upgrade one after the other
                await connection.execute(select(func.pg_advisory_xact_lock(UPGRADE_LOCK)))
            await connection.run_sync(upgrade)
        return store

    async def close(self) -> None:
        for lane in self._lanes:
            await lane.close()
        await self.engine.dispose()

    async def append(
        self,
        session_id: str,
        events: Sequence[Event],
        *,
        expected_seq: int,
        expected_hash: str | None = None,
        release: str | None = None,
    ) -> tuple[StoredEvent, ...]:
        def work(connection: Connection) -> tuple[StoredEvent, ...]:
            return self._log.append(connection, session_id, events, expected_seq, expected_hash, release)

        return await next(self._writer).run(work, locks=session_id)

    async def open_turn(
        self, session_id: str, events: Sequence[Event], *, expected_seq: int, expected_hash: str, ttl_s: float
    ) -> TurnOpening:
        def work(connection: Connection) -> TurnOpening:
            return self._log.open_turn(connection, session_id, events, expected_seq, expected_hash, ttl_s)

        return await next(self._writer).run(work, locks=session_id)

    async def events(self, session_id: str, *, after_seq: int = 0) -> tuple[StoredEvent, ...]:
        return await next(self._reader).run(lambda connection: self._log.events(connection, session_id, after_seq))

    async def last_seqs(self, session_ids: Sequence[str]) -> Mapping[str, int]:
        """Where the logs of these sessions end now."""
        return await next(self._reader).run(lambda connection: self._log.last_seqs(connection, session_ids))

    async def session_customer(self, session_id: str) -> str:
        """The customer a session is bound to. Raises NotFound."""
        row = await next(self._reader).run(lambda connection: self._log.session(connection, session_id))
        return str(row["customer_id"])

    async def acquire_lease(self, session_id: str, holder: str, *, ttl_s: float) -> bool:
        def work(connection: Connection) -> bool:
            return self._log.acquire_lease(connection, session_id, holder, ttl_s)

        return await next(self._writer).run(work, locks=session_id)

    async def release_lease(self, session_id: str, holder: str) -> None:
        def work(connection: Connection) -> None:
            self._log.release_lease(connection, session_id, holder)

        await next(self._writer).run(work, locks=session_id)

    async def renew_leases(self, held: Sequence[tuple[str, str]], *, ttl_s: float) -> frozenset[tuple[str, str]]:
        async with self._transaction() as connection:  # of its own: it locks many sessions
            return await connection.run_sync(self._log.renew_leases, held, ttl_s)

    async def expired_leases(self) -> tuple[Lease, ...]:
        return await next(self._reader).run(self._log.expired_leases)

    async def turn_by_key(self, session_id: str, idempotency_key: str) -> str | None:
        return await next(self._reader).run(lambda connection: self._log.turn_by_key(connection, session_id, idempotency_key))

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
            mine_too = select(tables.sessions).where(s.customer_id == customer_id).order_by(self._log.in_order)
            rows = (await connection.execute(mine_too.with_for_update())).mappings().all()
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
            found = rows["events"] or rows["heads"] or (await connection.execute(SESSION, {"session": session_id})).all()
            if not found:
                raise no_session(session_id)
        personal = {int(row["seq"]): row for row in rows["personal"]}
        return examine(session_id, rows["events"], personal, next(iter(rows["heads"]), None), verifier)

    async def session_ids(self) -> tuple[str, ...]:
        """Every session, oldest first."""
        query = select(tables.sessions.c.id).order_by(tables.sessions.c.created_at, tables.sessions.c.id)
        async with self._transaction() as connection:
            return tuple((await connection.execute(query)).scalars().all())

    async def sessions_by_key(self, idempotency_key: str) -> tuple[str, ...]:
        """The sessions that have a turn of that key, the newest first, at most `MANY`."""
        s, t = tables.sessions.c, tables.turns.c
        query = select(t.session_id).join(tables.sessions, s.id == t.session_id).where(t.idempotency_key == idempotency_key)
        async with self._transaction() as connection:
            rows = await connection.execute(query.order_by(s.created_at.desc()).limit(MANY))
            return tuple(rows.scalars().all())

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

    async def _lines(self, asked: Asked) -> tuple[ActionRecord, ...]:
        return await next(self._reader).run(lambda connection: lines.read(connection, asked))

    async def _erase_session(self, connection: AsyncConnection, session: RowMapping) -> None:
        session_id, until = str(session["id"]), session["lease_until"]
        if session["lease_holder"] is not None and until is not None and until > self._clock.now():
            raise TurnInProgress("a session of this customer is answering", hint="Try again in a moment.")
        e = tables.events.c
        last = (
            await connection.execute(select(e.seq, e.hash).where(e.session_id == session_id).order_by(e.seq.desc()).limit(1))
        ).one()
        await connection.execute(delete(tables.personal).where(tables.personal.c.session_id == session_id))
        links = link(session_id, [PersonalErased()], seq=last.seq, before=last.hash, clock=self._clock, signer=self._signer)
        await connection.execute(insert(tables.events), links.events)
        moved = await connection.execute(update(tables.heads).where(tables.heads.c.session_id == session_id).values(links.head))
        if not moved.rowcount:
            await connection.execute(insert(tables.heads).values(session_id=session_id, **links.head))

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[AsyncConnection, None]:
        async with _translated(), self.engine.begin() as connection, watched(connection, self._hangs_after_s):
            yield connection


@asynccontextmanager
async def _translated() -> AsyncGenerator[None, None]:
    """The database's errors as ours."""
    try:
        yield
    except IntegrityError as error:
        raise TurnInProgress("another message of this session was first") from error
    except (SQLAlchemyError, OSError) as error:
        raise StoreUnavailable(f"the database does not answer: {type(error).__name__}") from error
