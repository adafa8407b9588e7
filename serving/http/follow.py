"""Following a session's events. What this process appends is handed to its followers at once; what others append is polled for.

One poll serves all followers of the process: it asks where their logs end and reads only those that have moved on.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol, Unpack

from agents.domain.errors import KeepwordError
from agents.domain.events import Event, StoredEvent, Taped, TurnStarted
from agents.passing_store import PassingStore
from agents.ports import AppendPlace, OpenPlace, Store, TurnOpening
from serving.stores.errors import StoreUnavailable

POLL_S = 0.5
HEARTBEAT_S = 15.0
ASKED_AT_ONCE = 500  # sessions in one statement of the poll
RECENT = 1024  # sessions whose turn under way is kept at hand


class FollowedStore(Store, Protocol):
    """A Store that can say where logs end."""

    async def last_seqs(self, session_ids: Sequence[str]) -> Mapping[str, int]: ...


@dataclass(eq=False)
class _Follower:
    """`fresh` is what this process appended since it last looked; `behind`: others appended, the store must be read."""

    seq: int
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    fresh: list[StoredEvent] = field(default_factory=list)
    behind: bool = True


class NotifyingStore(PassingStore):
    """A Store whose appends reach the followers in this process. `leaving`: this process is about to end, and who follows a
    whole session should do it elsewhere."""

    leaving = False

    def __init__(self, inner: FollowedStore) -> None:
        super().__init__(inner)
        self._logs = inner
        self._followers: dict[str, set[_Follower]] = defaultdict(set)
        self._recent: OrderedDict[str, list[StoredEvent]] = OrderedDict()
        self._polling: asyncio.Task[None] | None = None

    async def append(self, session_id: str, events: Sequence[Event], **place: Unpack[AppendPlace]) -> tuple[StoredEvent, ...]:
        stored = await super().append(session_id, events, **place)
        self._tell(session_id, stored)
        return stored

    async def open_turn(self, session_id: str, events: Sequence[Event], **place: Unpack[OpenPlace]) -> TurnOpening:
        opening = await super().open_turn(session_id, events, **place)
        if opening.stored:
            self._tell(session_id, opening.stored)
        return opening

    def recent(self, session_id: str, *, after_seq: int) -> tuple[StoredEvent, ...] | None:
        """The events after `after_seq` of the session's latest turn, if it began after it and runs (or ran) in this process;
        None when only the store can tell. Its tape is empty."""
        kept = self._recent.get(session_id, ())
        if not kept or kept[0].seq > after_seq + 1:
            return None
        return tuple(stored for stored in kept if stored.seq > after_seq)

    def forget(self, session_id: str) -> None:
        """Keep a turn that has ended no longer at hand."""
        self._recent.pop(session_id, None)

    def send_followers_away(self) -> None:
        """End the following of sessions."""
        self.leaving = True
        for followers in self._followers.values():
            for follower in followers:
                follower.wake.set()

    async def follow(self, session_id: str, *, after_seq: int) -> AsyncGenerator[StoredEvent | None, None]:
        """Events after `after_seq`, without end; None when nothing came for a heartbeat's time. Close it to stop."""
        async with aclosing(self.follow_together(session_id, after_seq=after_seq)) as following:
            async for together in following:
                for stored in together or (None,):
                    yield stored

    async def follow_together(
        self, session_id: str, *, after_seq: int, stays: bool = True
    ) -> AsyncGenerator[Sequence[StoredEvent], None]:
        """The same, with what was stored together given together; nothing at all is a heartbeat. Unless it `stays`, it ends
        when this process is about to go."""
        follower = _Follower(after_seq)
        self._followers[session_id].add(follower)
        if (at_hand := self.recent(session_id, after_seq=after_seq)) is not None:
            follower.fresh, follower.behind = list(at_hand), False
        self._poll()
        try:
            while True:
                if together := await self._next(session_id, follower):
                    yield together
                if self.leaving and not stays:
                    return
                if not (follower.fresh or follower.behind) and not await _woken(follower):
                    yield ()
        finally:
            self._followers[session_id].discard(follower)
            if not self._followers[session_id]:
                del self._followers[session_id]

    async def _next(self, session_id: str, follower: _Follower) -> list[StoredEvent]:
        """What the follower has not seen, without the tapes: they are for replays, not for a customer's eyes."""
        follower.wake.clear()
        fresh, follower.fresh = [each for each in follower.fresh if each.seq > follower.seq], []
        if follower.behind or (fresh and fresh[0].seq != follower.seq + 1):
            try:
                fresh = list(await self._inner.events(session_id, after_seq=follower.seq))
                follower.behind = False
            except StoreUnavailable:  # the database is away: who listens goes on listening
                follower.behind, fresh = True, []
                await asyncio.sleep(POLL_S)
        if fresh:
            follower.seq = fresh[-1].seq
        return [each for each in fresh if not isinstance(each.event, Taped)]

    def _tell(self, session_id: str, stored: tuple[StoredEvent, ...]) -> None:
        light = [
            replace(each, event=Taped(each.event.turn_id, {})) if isinstance(each.event, Taped) else each for each in stored
        ]
        self._keep(session_id, light)
        for follower in self._followers.get(session_id, ()):
            follower.fresh += light
            follower.wake.set()

    def _keep(self, session_id: str, stored: list[StoredEvent]) -> None:
        """Keep the turn at hand from its start on."""
        began = next((at for at, each in enumerate(stored) if isinstance(each.event, TurnStarted)), None)
        kept = self._recent.pop(session_id, [])
        if began is not None:
            kept = stored[began:]
        elif kept and kept[-1].seq + 1 == stored[0].seq:
            kept += stored
        else:
            return
        self._recent[session_id] = kept
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    def _poll(self) -> None:
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._look_for_others())

    async def _look_for_others(self) -> None:
        """While anybody follows: wake those whose log is longer than what they have seen."""
        while self._followers:
            await asyncio.sleep(POLL_S)
            followed = list(self._followers)
            for at in range(0, len(followed), ASKED_AT_ONCE):
                with suppress(KeepwordError):  # the database is away: the next look may find it
                    for session_id, seq in (await self._logs.last_seqs(followed[at : at + ASKED_AT_ONCE])).items():
                        for follower in self._followers.get(session_id, ()):
                            if follower.seq < seq and not follower.fresh:
                                follower.behind = True
                                follower.wake.set()


async def _woken(follower: _Follower) -> bool:
    """Wait until there is something to see; False after a heartbeat's time."""
    try:
        async with asyncio.timeout(HEARTBEAT_S):
            await follower.wake.wait()
    except TimeoutError:
        return False
    return True
