"""Leases: kept while the work runs, lost when another process took the session, given back at the end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.domain.errors import KeepwordError
from agents.domain.events import SessionStarted
from agents.lease import LeaseLost, Leases
from agents.passing_store import PassingStore
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore
from tests.fakes import SetClock


class Ticks:
    """A pause that ends when told."""

    def __init__(self) -> None:
        self._go, self.waits = asyncio.Event(), asyncio.Event()

    async def pause(self, _seconds: float) -> None:
        self.waits.set()
        await self._go.wait()
        self._go.clear()

    async def tick(self) -> None:
        """Let one pause end, and wait for the next to begin."""
        await self.waits.wait()
        self.waits.clear()
        self._go.set()
        await self.waits.wait()


class Away(PassingStore):
    """A store whose renewals fail as told."""

    failing = False

    async def renew_leases(self, held: object, *, ttl_s: float) -> frozenset[tuple[str, str]]:
        if self.failing:
            raise KeepwordError("the database is away")
        return await super().renew_leases(held, ttl_s=ttl_s)  # type: ignore[arg-type]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Away]:
    sql = await SqlStore.open(f"sqlite+aiosqlite:///{tmp_path}/keepword.db", SetClock(), Signer("secret"))
    for number in (1, 2):
        session_id = f"ses_{number}"
        await sql.append(session_id, [SessionStarted(session_id, "shop", "C-001", "en")], expected_seq=0)
    yield Away(sql)
    await sql.close()


def clock_of(store: Away) -> SetClock:
    clock = store._inner._clock  # type: ignore[attr-defined]
    assert isinstance(clock, SetClock)
    return clock


async def test_a_kept_lease_outlives_its_time_and_is_given_back_at_the_end(store: Away) -> None:
    ticks, clock = Ticks(), clock_of(store)
    leases = Leases(store, pause=ticks.pause)
    assert await leases.take("ses_1", "turn_1")
    async with leases.keeping("ses_1", "turn_1"):
        for _ in range(4):
            clock.move(3)
            await ticks.tick()
        assert await store.expired_leases() == ()
        assert not await store.acquire_lease("ses_1", "other", ttl_s=5)
    assert await store.acquire_lease("ses_1", "other", ttl_s=5)


async def test_who_lost_the_lease_is_cut_and_the_others_go_on(store: Away) -> None:
    ticks, clock = Ticks(), clock_of(store)
    leases = Leases(store, pause=ticks.pause)
    reached = asyncio.Event()

    async def work(session_id: str) -> str:
        async with leases.keeping(session_id, "turn"):
            await reached.wait()
            return "done"

    for session_id in ("ses_1", "ses_2"):
        assert await leases.take(session_id, "turn")
    lost, kept = asyncio.create_task(work("ses_1")), asyncio.create_task(work("ses_2"))
    await ticks.waits.wait()
    clock.move(6)
    assert await store.acquire_lease("ses_1", "other", ttl_s=60)
    await ticks.tick()
    assert not lost.done()  # one renewal may meet a turn that is just being ended
    await ticks.tick()
    with pytest.raises(LeaseLost):
        await lost
    reached.set()
    assert await kept == "done"
    assert not await store.acquire_lease("ses_1", "turn_2", ttl_s=5)  # the new holder's is not given back


async def test_a_database_that_is_away_costs_no_lease(store: Away) -> None:
    ticks, clock = Ticks(), clock_of(store)
    leases = Leases(store, pause=ticks.pause)
    assert await leases.take("ses_1", "turn_1")
    async with leases.keeping("ses_1", "turn_1"):
        store.failing = True
        clock.move(10)
        await ticks.tick()
        assert len(await store.expired_leases()) == 1
        store.failing = False
        await ticks.tick()
        assert await store.expired_leases() == ()


async def test_work_that_breaks_off_leaves_its_lease_to_be_found(store: Away) -> None:
    leases, began = Leases(store), asyncio.Event()

    async def work() -> None:
        async with leases.keeping("ses_1", "turn_1"):
            began.set()
            await asyncio.Event().wait()

    assert await leases.take("ses_1", "turn_1")
    task = asyncio.create_task(work())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.expired_leases() == ()
    clock_of(store).move(6)
    assert [lease.holder for lease in await store.expired_leases()] == ["turn_1"]  # found, and answered by another
