"""Following a session while its database goes away, and while its process is about to go."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from agents.domain.events import SessionStarted, StoredEvent, TurnStarted
from agents.passing_store import PassingStore
from serving.http.follow import NotifyingStore
from serving.http.wire import moved
from serving.stores.errors import StoreUnavailable
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore
from tests.fakes import SetClock


class Away(PassingStore):
    away = False

    def __init__(self, inner: SqlStore) -> None:
        super().__init__(inner)
        self._sql, self.refused = inner, asyncio.Event()

    async def events(self, session_id: str, *, after_seq: int = 0) -> tuple[StoredEvent, ...]:
        if self.away:
            self.refused.set()
            raise StoreUnavailable("gone")
        return await super().events(session_id, after_seq=after_seq)

    async def last_seqs(self, session_ids: Sequence[str]) -> Mapping[str, int]:
        return await self._sql.last_seqs(session_ids)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[tuple[NotifyingStore, Away]]:
    sql = await SqlStore.open(f"sqlite+aiosqlite:///{tmp_path}/keepword.db", SetClock(), Signer("secret"))
    away = Away(sql)
    store = NotifyingStore(away)
    await store.append("ses_1", [SessionStarted("ses_1", "shop", "C-001", "en")], expected_seq=0)
    yield store, away
    await sql.close()


async def test_a_stream_goes_on_when_the_database_is_back(store: tuple[NotifyingStore, Away]) -> None:
    notifying, away = store
    away.away = True
    events = notifying.follow("ses_1", after_seq=0)
    coming = asyncio.ensure_future(anext(events))
    await away.refused.wait()
    away.away = False
    first = await coming
    await events.aclose()
    assert first is not None
    assert first.seq == 1


async def test_who_follows_a_session_is_sent_away_and_who_follows_a_turn_stays(store: tuple[NotifyingStore, Away]) -> None:
    notifying, _ = store
    leaving = notifying.follow_together("ses_1", after_seq=1, stays=False)
    staying = notifying.follow_together("ses_1", after_seq=1)
    ends, stays = asyncio.ensure_future(anext(leaving, "ended")), asyncio.ensure_future(anext(staying, "ended"))
    await asyncio.sleep(0)
    notifying.send_followers_away()
    assert await ends == "ended"
    await notifying.append("ses_1", [TurnStarted("turn_1", "hello", "en")], expected_seq=1)
    assert await stays != "ended"
    await staying.aclose()


def test_the_last_frame_says_where_to_resume() -> None:
    assert moved(7).decode().split("\n")[1:3] == ["id: 7", "event: stream.moved"]
