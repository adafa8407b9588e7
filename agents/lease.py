"""Leases kept while their turns run: short ones, renewed together, so that a dead process frees its sessions in seconds."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from agents.domain.errors import KeepwordError, TurnInProgress
from agents.ports import Store
from agents.privacy import masked_log

log = masked_log("keepword.lease")
TTL_S = 5.0
RENEW_EVERY_S = 1.5  # three renewals may fail before a lease runs out


class LeaseLost(TurnInProgress):
    """Another process took the session over: whatever this one still did, it must not say."""


class Leases:
    """Holds sessions for turns of this process; one statement renews all of them. `pause` waits some seconds."""

    def __init__(
        self,
        store: Store,
        *,
        ttl_s: float = TTL_S,
        renew_every_s: float = RENEW_EVERY_S,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store, self._pause = store, pause
        self.ttl_s, self._renew_every_s = ttl_s, renew_every_s
        self._held: dict[tuple[str, str], asyncio.Task[object]] = {}
        self._lost: set[tuple[str, str]] = set()
        self._renewing: asyncio.Task[None] | None = None

    async def take(self, session_id: str, holder: str) -> bool:
        """Take a session for `ttl_s`; False when another holder has it."""
        return await self._store.acquire_lease(session_id, holder, ttl_s=self.ttl_s)

    async def give_back(self, session_id: str, holder: str) -> None:
        """Free the session. A database that does not answer frees it when the lease has run out."""
        with suppress(KeepwordError):
            await self._store.release_lease(session_id, holder)

    def let_go(self, session_id: str, holder: str) -> None:
        """The session was given back by the write that ended its turn: there is nothing left to keep."""
        self._held.pop((session_id, holder), None)

    @asynccontextmanager
    async def keeping(self, session_id: str, holder: str) -> AsyncGenerator[None, None]:
        """Keep a taken lease while this block runs in this task, and give it back when it has ended well. What breaks off
        leaves its lease to run out, so that the session is found. When another process has taken the session, the block is
        cut and LeaseLost raised."""
        task, place = asyncio.current_task(), (session_id, holder)
        assert task is not None
        self._held[place] = task
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())
        try:
            yield
        except asyncio.CancelledError:
            if place not in self._lost:
                raise
            task.uncancel()
            raise LeaseLost("another process answers this session now") from None
        else:
            if place in self._held:
                await self.give_back(session_id, holder)
        finally:
            self._held.pop(place, None)
            self._lost.discard(place)
            if not self._held and self._renewing is not None:
                self._renewing.cancel()
                self._renewing = None

    async def _renew(self) -> None:
        """A lease is lost when two renewals in a row do not find it: one may meet a turn whose last write, which gives the
        session back, is stored and not yet known here."""
        missed: set[tuple[str, str]] = set()
        while True:
            await self._pause(self._renew_every_s)
            wanted = tuple(self._held)
            try:
                kept = await self._store.renew_leases(wanted, ttl_s=self.ttl_s)
            except KeepwordError as error:  # nobody else can take a session now either
                log.warning("leases could not be renewed: %s", error.message)
                continue
            lost, missed = missed - kept, set(wanted) - kept
            for place in lost:
                if (task := self._held.pop(place, None)) is not None:
                    self._lost.add(place)
                    log.warning("a lease was lost", extra={"session_id": place[0], "holder": place[1]})
                    task.cancel()
