"""A Store that passes everything on to another: subclasses change one thing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Unpack

from agents.domain.events import Event, StoredEvent
from agents.domain.words import ActionRecord
from agents.ports import AppendPlace, IntentHow, Lease, OpenPlace, Store, TurnOpening


class PassingStore:
    def __init__(self, inner: Store) -> None:
        self._inner = inner

    async def append(self, session_id: str, events: Sequence[Event], **place: Unpack[AppendPlace]) -> tuple[StoredEvent, ...]:
        return await self._inner.append(session_id, events, **place)

    async def open_turn(self, session_id: str, events: Sequence[Event], **place: Unpack[OpenPlace]) -> TurnOpening:
        return await self._inner.open_turn(session_id, events, **place)

    async def events(self, session_id: str, *, after_seq: int = 0) -> tuple[StoredEvent, ...]:
        return await self._inner.events(session_id, after_seq=after_seq)

    async def acquire_lease(self, session_id: str, holder: str, *, ttl_s: float) -> bool:
        return await self._inner.acquire_lease(session_id, holder, ttl_s=ttl_s)

    async def release_lease(self, session_id: str, holder: str) -> None:
        await self._inner.release_lease(session_id, holder)

    async def renew_leases(self, held: Sequence[tuple[str, str]], *, ttl_s: float) -> frozenset[tuple[str, str]]:
        return await self._inner.renew_leases(held, ttl_s=ttl_s)

    async def expired_leases(self) -> tuple[Lease, ...]:
        return await self._inner.expired_leases()

    async def turn_by_key(self, session_id: str, idempotency_key: str) -> str | None:
        return await self._inner.turn_by_key(session_id, idempotency_key)

    async def intend(self, record: ActionRecord, **how: Unpack[IntentHow]) -> ActionRecord:
        return await self._inner.intend(record, **how)

    async def begin(self, record: ActionRecord) -> bool:
        return await self._inner.begin(record)

    async def settle(self, record: ActionRecord, then: Sequence[ActionRecord] = ()) -> None:
        await self._inner.settle(record, then)

    async def lines(self, offer_id: str) -> tuple[ActionRecord, ...]:
        return await self._inner.lines(offer_id)

    async def actions(self, customer_id: str, *, since: datetime) -> tuple[ActionRecord, ...]:
        return await self._inner.actions(customer_id, since=since)

    async def unsettled(self) -> tuple[ActionRecord, ...]:
        return await self._inner.unsettled()
