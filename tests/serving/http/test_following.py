"""Followers see every event once and in order: at once what this process appends, by one poll what others append."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from agents.domain.events import ReplySentence, SessionStarted, StoredEvent, Taped, TurnStarted
from serving.clock import SystemClock
from serving.http.follow import NotifyingStore
from serving.settings import Settings
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore

STARTED = SessionStarted("ses_1", "shop", "C-001", "en")


class CountingStore(SqlStore):
    """Counts how often it is read."""

    reads = 0

    async def events(self, session_id: str, *, after_seq: int = 0) -> tuple[StoredEvent, ...]:
        self.reads += 1
        return await super().events(session_id, after_seq=after_seq)


@pytest.fixture
async def sql(tmp_path: Path) -> AsyncIterator[CountingStore]:
    store = await CountingStore.open(Settings.load(data_dir=tmp_path).store_url, SystemClock(), Signer("secret"))
    yield store
    await store.close()


@pytest.fixture
async def store(sql: CountingStore) -> NotifyingStore:
    followed = NotifyingStore(sql)
    await followed.append("ses_1", [STARTED], expected_seq=0)
    return followed


def said(index: int) -> ReplySentence:
    return ReplySentence("t1", index, "x", "pack")


async def seen(store: NotifyingStore, count: int, after_seq: int = 0) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    async for stored in store.follow("ses_1", after_seq=after_seq):
        assert stored is not None
        found.append(stored)
        if len(found) == count:
            break
    return found


async def opened(store: NotifyingStore) -> Sequence[StoredEvent]:
    [last] = await store.events("ses_1")
    turn = TurnStarted("t1", "hello", "en")
    return (await store.open_turn("ses_1", [turn], expected_seq=1, expected_hash=last.hash, ttl_s=10)).stored


async def test_a_turn_of_this_process_is_followed_without_reading_the_store(store: NotifyingStore, sql: CountingStore) -> None:
    await opened(store)
    before = sql.reads
    following = asyncio.create_task(seen(store, 4, after_seq=1))
    await asyncio.sleep(0)
    await store.append("ses_1", [said(0)], expected_seq=2)
    await store.append("ses_1", [said(1), Taped("t1", {"now": [1]}), said(2)], expected_seq=3)
    assert [each.seq for each in await following] == [2, 3, 4, 6]
    assert sql.reads == before


async def test_what_was_stored_together_is_given_together_and_no_tape(store: NotifyingStore) -> None:
    await opened(store)
    following = store.follow_together("ses_1", after_seq=2)
    first = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0)
    await store.append("ses_1", [said(0), Taped("t1", {"now": [1]}), said(1)], expected_seq=2)
    assert [each.seq for each in await first] == [3, 5]
    await following.aclose()


async def test_what_another_process_appends_is_seen_too_and_in_order(store: NotifyingStore, sql: CountingStore) -> None:
    following = asyncio.create_task(seen(store, 4))
    await asyncio.sleep(0)
    await sql.append("ses_1", [TurnStarted("t1", "hello", "en")], expected_seq=1)
    await sql.append("ses_1", [said(0)], expected_seq=2)
    await store.append("ses_1", [said(1)], expected_seq=3)
    assert [each.seq for each in await following] == [1, 2, 3, 4]


async def test_another_process_alone_is_noticed_by_the_poll(store: NotifyingStore, sql: CountingStore) -> None:
    following = asyncio.create_task(seen(store, 2, after_seq=1))
    await asyncio.sleep(0)
    await sql.append("ses_1", [TurnStarted("t1", "hello", "en"), said(0)], expected_seq=1)
    assert [each.seq for each in await following] == [2, 3]


async def test_many_idle_followers_read_nothing_while_nothing_happens(
    store: NotifyingStore, sql: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.http.follow.POLL_S", 0.0)
    polls, looked = 0, asyncio.Event()
    ask = sql.last_seqs

    async def counted(session_ids: Sequence[str]) -> dict[str, int]:
        nonlocal polls
        polls += 1
        if polls == 5:
            looked.set()
        return dict(await ask(session_ids))

    monkeypatch.setattr(sql, "last_seqs", counted)
    following = [asyncio.create_task(seen(store, 1, after_seq=1)) for _ in range(20)]
    await asyncio.wait_for(looked.wait(), 10)
    assert sql.reads == 20  # each looked once when it began
    for each in following:
        each.cancel()
    await asyncio.gather(*following, return_exceptions=True)
