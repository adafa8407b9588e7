"""How many desk replicas share the engine: each writes that it lives, and counts those that wrote lately.

A tenant's limits hold over all replicas together, so each takes its part of them. What is approximate: a tenant whose requests
fall unevenly on the replicas gets less than its whole limit; a replica that has just started, or died without a word, is
counted `BEAT_S` or `ALIVE_S` late. How many turns the engine takes needs no counting: each replica learns from the service
times it sees, as TCP's senders share a link they never measured.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from agents.domain.errors import KeepwordError
from agents.ports import Clock
from serving.stores import tables
from serving.stores.connection import transaction

BEAT_S = 5.0
ALIVE_S = 15.0


class Replicas:
    """This replica among the others. `tell` hears its part (0 to 1) of what all share, after each beat."""

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        tell: Callable[[float], None],
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._engine, self._clock, self._tell, self._pause = engine, clock, tell, pause
        self.id = f"desk_{uuid4().hex[:16]}"

    async def beat(self) -> int:
        """Say that this replica lives; how many live now, itself included. Raises StoreUnavailable."""
        c, now = tables.desks.c, self._clock.now()
        oldest: datetime = now - timedelta(seconds=ALIVE_S)
        async with transaction(self._engine) as connection:
            await connection.execute(delete(tables.desks).where(c.seen_at < oldest))
            mine = await connection.execute(update(tables.desks).where(c.id == self.id).values(seen_at=now))
            if not mine.rowcount:
                await connection.execute(insert(tables.desks).values(id=self.id, seen_at=now))
            count = int((await connection.execute(select(func.count()).select_from(tables.desks))).scalar_one())
        self._tell(1 / count)
        return count

    async def watch(self) -> None:
        """Beat for ever. Cancel to stop. While the database is away, the last count stands."""
        while True:
            with suppress(KeepwordError):
                await self.beat()
            await self._pause(BEAT_S)

    async def leave(self) -> None:
        """Say goodbye, so that the others need not wait."""
        async with transaction(self._engine) as connection:
            await connection.execute(delete(tables.desks).where(tables.desks.c.id == self.id))
