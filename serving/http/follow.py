"""Following a session's events: from the store, woken at once by appends in this process, by polling for those of others."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence

from agents.domain.events import Event, StoredEvent, Taped
from agents.passing_store import PassingStore
from agents.ports import Store
from serving.stores.errors import StoreUnavailable

POLL_S = 0.5
HEARTBEAT_S = 15.0


class NotifyingStore(PassingStore):
    """A Store that wakes followers after each append. `leaving`: this process is about to end, and who follows a whole session
    should do it elsewhere."""

    leaving = False

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)

    async def append(self, session_id: str, events: Sequence[Event], *, expected_seq: int) -> tuple[StoredEvent, ...]:
        stored = await super().append(session_id, events, expected_seq=expected_seq)
        for wake in self._waiting.get(session_id, ()):
            wake.set()
        return stored

    async def _new(self, session_id: str, after_seq: int) -> tuple[StoredEvent, ...]:
        """What came since; nothing while the database is away: who listens goes on listening."""
        try:
            return await self._inner.events(session_id, after_seq=after_seq)
        except StoreUnavailable:
            return ()

    def send_followers_away(self) -> None:
        """End the following of sessions."""
        self.leaving = True
        for followers in self._waiting.values():
            for wake in followers:
                wake.set()

    async def follow(self, session_id: str, *, after_seq: int, stays: bool = True) -> AsyncGenerator[StoredEvent | None, None]:
        """Events after `after_seq`; None when nothing came for a heartbeat's time. Without end, or, unless it `stays`, until
        this process is about to go. Close it to stop."""
        wake, seq, idle = asyncio.Event(), after_seq, 0.0
        self._waiting[session_id].add(wake)
        try:
            while True:
                wake.clear()
                for stored in await self._new(session_id, seq):
                    seq, idle = stored.seq, 0.0
                    if not isinstance(stored.event, Taped):  # for replays, not for a customer's eyes
                        yield stored
                if self.leaving and not stays:
                    return
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
