"""A Store that waits for a database that is away: what fails is tried again until it works or patience ends."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar, Unpack

from agents.domain.errors import TurnInProgress
from agents.domain.events import Event, StoredEvent
from agents.domain.words import ActionRecord
from agents.passing_store import PassingStore
from agents.ports import AppendPlace, Clock, IntentHow, OpenPlace, Store, TurnOpening
from serving.stores.codec import canonical, event_fields
from serving.stores.errors import StoreUnavailable

FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 1.0
V = TypeVar("V")


class PatientStore(PassingStore):
    """Raises StoreUnavailable only when `patience_s` have passed since an operation's first failure.

    Every operation may be repeated: reads, leases and settlements by their nature, an intent because its line names the
    attempt, and an append because its place is fixed and its content can be compared, when the answer to a first try was lost.
    """

    def __init__(
        self,
        inner: Store,
        clock: Clock,
        *,
        patience_s: float,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(inner)
        self._clock, self._patience_s, self._pause = clock, patience_s, pause

    async def append(self, session_id: str, events: Sequence[Event], **place: Unpack[AppendPlace]) -> tuple[StoredEvent, ...]:
        def once() -> Awaitable[tuple[StoredEvent, ...]]:
            return self._inner.append(session_id, events, **place)

        try:
            return await once()
        except StoreUnavailable as error:
            return await self._again(error, lambda: self._append_again(once, session_id, events, place["expected_seq"]))

    async def open_turn(self, session_id: str, events: Sequence[Event], **place: Unpack[OpenPlace]) -> TurnOpening:
        def once() -> Awaitable[TurnOpening]:
            return self._inner.open_turn(session_id, events, **place)

        try:
            return await once()
        except StoreUnavailable as error:
            return await self._again(error, lambda: self._open_again(once, session_id, events, place["expected_seq"]))

    async def events(self, session_id: str, *, after_seq: int = 0) -> tuple[StoredEvent, ...]:
        return await self._patiently(lambda: self._inner.events(session_id, after_seq=after_seq))

    async def acquire_lease(self, session_id: str, holder: str, *, ttl_s: float) -> bool:
        return await self._patiently(lambda: self._inner.acquire_lease(session_id, holder, ttl_s=ttl_s))

    async def turn_by_key(self, session_id: str, idempotency_key: str) -> str | None:
        return await self._patiently(lambda: self._inner.turn_by_key(session_id, idempotency_key))

    async def intend(self, record: ActionRecord, **how: Unpack[IntentHow]) -> ActionRecord:
        return await self._patiently(lambda: self._inner.intend(record, **how))

    async def begin(self, record: ActionRecord) -> bool:
        try:
            return await self._inner.begin(record)
        except StoreUnavailable as error:
            return await self._again(error, lambda: self._begin_again(record))

    async def settle(self, record: ActionRecord, then: Sequence[ActionRecord] = ()) -> None:
        await self._patiently(lambda: self._inner.settle(record, then))

    async def lines(self, offer_id: str) -> tuple[ActionRecord, ...]:
        return await self._patiently(lambda: self._inner.lines(offer_id))

    async def actions(self, customer_id: str, *, since: datetime) -> tuple[ActionRecord, ...]:
        return await self._patiently(lambda: self._inner.actions(customer_id, since=since))

    async def _begin_again(self, record: ActionRecord) -> bool:
        """Whether the line is begun, be it by a first try whose answer was lost: the line names its attempt."""
        if await self._inner.begin(record):
            return True
        stored = next((line for line in await self._inner.lines(record.offer_id) if line.key == record.key), None)
        return stored is not None and stored.result.get("attempt") == record.result.get("attempt", "")

    async def _append_again(
        self,
        once: Callable[[], Awaitable[tuple[StoredEvent, ...]]],
        session_id: str,
        events: Sequence[Event],
        expected_seq: int,
    ) -> tuple[StoredEvent, ...]:
        try:
            return await once()
        except TurnInProgress:  # somebody wrote there: was it our first try?
            if found := await self._first_try(session_id, events, expected_seq):
                return found
            raise

    async def _open_again(
        self, once: Callable[[], Awaitable[TurnOpening]], session_id: str, events: Sequence[Event], expected_seq: int
    ) -> TurnOpening:
        try:
            opening = await once()
            if opening.stored:
                return opening
        except TurnInProgress:
            if found := await self._first_try(session_id, events, expected_seq):
                return TurnOpening(stored=found)
            raise
        found = await self._first_try(session_id, events, expected_seq)
        return TurnOpening(stored=found) if found else opening

    async def _first_try(self, session_id: str, events: Sequence[Event], expected_seq: int) -> tuple[StoredEvent, ...]:
        """What a first try stored there, when its answer was lost; nothing when it did not."""
        found = (await self._inner.events(session_id, after_seq=expected_seq))[: len(events)]
        return found if [_said(stored.event) for stored in found] == [_said(event) for event in events] else ()

    async def _patiently(self, ask: Callable[[], Awaitable[V]]) -> V:
        try:
            return await ask()
        except StoreUnavailable as error:
            return await self._again(error, ask)

    async def _again(self, error: StoreUnavailable, ask: Callable[[], Awaitable[V]]) -> V:
        pause_s, until = FIRST_PAUSE_S, self._clock.monotonic() + self._patience_s
        while self._clock.monotonic() + pause_s <= until:
            await self._pause(pause_s)
            try:
                return await ask()
            except StoreUnavailable as again:
                error, pause_s = again, min(2 * pause_s, LAST_PAUSE_S)
        raise error


def _said(event: Event) -> str:
    return canonical(event_fields(event))
