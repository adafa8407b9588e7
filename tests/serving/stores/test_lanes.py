"""Work that waits together shares a transaction, and nobody suffers for another."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from agents.domain.errors import NotFound
from agents.domain.events import SessionStarted
from serving.stores.engines import lanes
from serving.stores.errors import StoreUnavailable
from serving.stores.lanes import Lane
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore
from serving.stores.watchdog import HANGS_AFTER_S
from tests.fakes import SetClock


@pytest.fixture
async def lane(database_url: str) -> AsyncIterator[Lane]:
    writers, readers = lanes(database_url, HANGS_AFTER_S)
    await writers[0].run(lambda connection: connection.execute(text("CREATE TABLE kept (n INTEGER PRIMARY KEY)")))
    yield writers[0]
    for each in (*writers, *readers):
        await each.close()


def kept(connection: Connection) -> list[int]:
    return list(connection.execute(text("SELECT n FROM kept ORDER BY n")).scalars())


def keeping(number: int) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        connection.execute(text("INSERT INTO kept VALUES (:n)"), {"n": number})
        return number

    return work


async def together(lane: Lane, *works: Callable[[Connection], Any]) -> list[Any]:
    """Run all of them so that they wait together: the lane is held until the last is queued."""
    held = threading.Event()
    holding: Coroutine[Any, Any, Any] = lane.run(lambda _: held.wait(10))
    waiting = [asyncio.create_task(work) for work in (holding, *map(lane.run, works))]
    await asyncio.sleep(0)
    held.set()
    return (await asyncio.gather(*waiting, return_exceptions=True))[1:]


async def test_what_waits_together_is_one_transaction(lane: Lane) -> None:
    begun = []
    works = [lambda connection: begun.append(connection.get_transaction())] * 5
    await together(lane, *works)
    assert len({id(each) for each in begun}) == 1


async def test_a_piece_that_breaks_costs_the_others_nothing(lane: Lane) -> None:
    def broken(connection: Connection) -> None:
        connection.execute(text("INSERT INTO kept VALUES (7)"))
        raise RuntimeError("a fault nobody foresaw")

    told = await together(lane, keeping(1), broken, keeping(2))
    assert [told[0], told[2]] == [1, 2]
    assert isinstance(told[1], RuntimeError)
    assert await lane.run(kept) == [1, 2]


async def test_a_refusal_before_the_first_write_leaves_the_rest_in_its_transaction(lane: Lane) -> None:
    def refused(connection: Connection) -> None:
        raise NotFound("no such thing")

    told = await together(lane, keeping(1), refused, keeping(2))
    assert isinstance(told[1], NotFound)
    assert await lane.run(kept) == [1, 2]


async def test_what_was_queued_is_done_even_if_nobody_waits_any_more(lane: Lane) -> None:
    held = threading.Event()
    holding = asyncio.create_task(lane.run(lambda _: held.wait(10)))
    leaving = asyncio.create_task(lane.run(keeping(3)))
    await asyncio.sleep(0)
    leaving.cancel()
    held.set()
    await holding
    assert await lane.run(kept) == [3]


async def test_a_closed_lane_has_done_all_that_was_queued(lane: Lane) -> None:
    waiting = [asyncio.create_task(lane.run(keeping(number))) for number in range(20)]
    await asyncio.sleep(0)
    await lane.close()
    assert sorted(await asyncio.gather(*waiting)) == list(range(20))


async def test_a_database_that_cannot_be_reached_is_said_to_be_unavailable() -> None:
    writers, _ = lanes("postgresql+psycopg://nobody@127.0.0.1:1/none", HANGS_AFTER_S)
    with pytest.raises(StoreUnavailable):
        await writers[0].run(kept)
    await writers[0].close()


async def test_a_connection_that_was_lost_is_made_anew(lane: Lane, request: pytest.FixtureRequest) -> None:
    if lane.dialect.name != "postgresql":
        pytest.skip("SQLite is in this process: it has no connection to lose")
    mine = await lane.run(lambda connection: connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
    writers, _ = lanes(request.getfixturevalue("database_url"), HANGS_AFTER_S)
    await writers[0].run(lambda connection: connection.execute(text(f"SELECT pg_terminate_backend({mine})")).scalar_one())
    await writers[0].close()
    assert await lane.run(keeping(1)) == 1


async def test_transactions_over_the_same_sessions_never_wait_for_each_other(database_url: str) -> None:
    """Renewals of all leases, and turns of all sessions in any order, at once."""
    store = await SqlStore.open(database_url, SetClock(), Signer("secret"))
    holders = [(f"ses_{number:02}", f"turn-{number}") for number in range(48)]
    for session_id, holder in holders:
        await store.append(session_id, [SessionStarted(session_id, "shop", "C-001", "en", {})], expected_seq=0)
        assert await store.acquire_lease(session_id, holder, ttl_s=60)
    before = await deadlocks(database_url)

    async def renewing() -> None:
        for _ in range(40):
            assert len(await store.renew_leases(random.sample(holders, len(holders)), ttl_s=60)) == len(holders)

    async def turning(seed: int) -> None:
        for session_id, holder in random.Random(seed).sample(holders, len(holders)):
            assert await store.acquire_lease(session_id, holder, ttl_s=60)

    await asyncio.gather(renewing(), renewing(), *map(turning, range(40)))
    await store.close()
    assert await deadlocks(database_url) == before


async def deadlocks(database_url: str) -> int:
    if database_url.startswith("sqlite"):
        return 0
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))
        count = int(found.scalar_one())
    await engine.dispose()
    return count
