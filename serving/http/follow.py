"""Following a session's events: from the store, woken at once by appends in this process, by polling for those of others."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

from agents.domain.events import Event, StoredEvent
from agents.domain.words import ActionRecord
from agents.ports import Permits, Store

POLL_S = 0.5
HEARTBEAT_S = 15.0


class NotifyingStore:
    """A Store that wakes followers after each append. Everything else passes through."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)

    async def append(self, session_id: str, events: Sequence[Event], *, expected_seq: int) -> tuple[StoredEvent, ...]:
        stored = await self._inner.append(session_id, events, expected_seq=expected_seq)
        for wake in self._waiting.get(session_id, ()):
            wake.set()
        return stored

    async def follow(self, session_id: str, *, after_seq: int) -> AsyncGenerator[StoredEvent | None, None]:
        """Events after `after_seq`, without end; None when nothing came for a heartbeat's time. Close it to stop."""
        wake, seq, idle = asyncio.Event(), after_seq, 0.0
        self._waiting[session_id].add(wake)
        try:
            while True:
                wake.clear()
                for stored in await self._inner.events(session_id, after_seq=seq):
                    seq, idle = stored.seq, 0.0
                    yield stored
                try:
                    await asyncio.wait_for(wake.wait(), POLL_S)
                except TimeoutError:
                    idle += POLL_S
                    if idle >= HEARTBEAT_S:
                        idle = 0.0
                        yield None
        finally:
            self._waiting[session_id].discard(wake)
            if not self._waiting[session_id]:
                del self._waiting[session_id]

    async def events(self, session_id: str, *, after_seq: int = 0) -> tuple[StoredEvent, ...]:
        return await self._inner.events(session_id, after_seq=after_seq)

    async def acquire_lease(self, session_id: str, holder: str, *, ttl_s: float) -> bool:
        return await self._inner.acquire_lease(session_id, holder, ttl_s=ttl_s)

    async def release_lease(self, session_id: str, holder: str) -> None:
        await self._inner.release_lease(session_id, holder)

    async def turn_by_key(self, session_id: str, idempotency_key: str) -> str | None:
        return await self._inner.turn_by_key(session_id, idempotency_key)

    async def intend(
        self, record: ActionRecord, *, permits: Permits | None = None, since: datetime | None = None
    ) -> ActionRecord:
        return await self._inner.intend(record, permits=permits, since=since)

    async def settle(self, record: ActionRecord) -> None:
        await self._inner.settle(record)

    async def actions(self, customer_id: str, *, since: datetime) -> tuple[ActionRecord, ...]:
        return await self._inner.actions(customer_id, since=since)

    async def unsettled(self) -> tuple[ActionRecord, ...]:
        return await self._inner.unsettled()
