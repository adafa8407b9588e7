"""A database that is away for a while: what was asked of it happens once, late, or is refused in the end."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Unpack

import pytest

from agents.domain.errors import TurnInProgress
from agents.domain.events import Event, SessionStarted, StoredEvent, TurnDone, TurnStarted
from agents.passing_store import PassingStore
from agents.ports import AppendPlace, OpenPlace, TurnOpening
from serving.stores.errors import StoreUnavailable
from serving.stores.patient import PatientStore
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore
from tests.fakes import SetClock

STARTED = SessionStarted("ses_1", "shop", "C-001", "en")
SAID = TurnStarted("turn_1", "hello", "en", "key")
DONE = TurnDone("turn_1", "Hello.", {"llm_calls": 2}, {"turn": 0.5}, ("a.b",))


class Flaky(PassingStore):
    """Fails `fails` times; an append whose answer is `lost` was carried out all the same."""

    fails, lost = 0, False

    async def append(self, session_id: str, events: Sequence[Event], **place: Unpack[AppendPlace]) -> tuple[StoredEvent, ...]:
        if self.fails and not self.lost:
            self._fail()
        stored = await super().append(session_id, events, **place)
        if self.fails:
            self._fail()
        return stored

    async def open_turn(self, session_id: str, events: Sequence[Event], **place: Unpack[OpenPlace]) -> TurnOpening:
        if self.fails and not self.lost:
            self._fail()
        opening = await super().open_turn(session_id, events, **place)
        if self.fails:
            self._fail()
        return opening

    async def events(self, session_id: str, *, after_seq: int = 0) -> tuple[StoredEvent, ...]:
        if self.fails and not self.lost:
            self._fail()
        return await super().events(session_id, after_seq=after_seq)

    def _fail(self) -> None:
        self.fails -= 1
        raise StoreUnavailable("gone")


@pytest.fixture
async def flaky(tmp_path: Path) -> AsyncIterator[Flaky]:
    sql = await SqlStore.open(f"sqlite+aiosqlite:///{tmp_path}/keepword.db", SetClock(), Signer("secret"))
    yield Flaky(sql)
    await sql.close()


def patient(flaky: Flaky, patience_s: float = 45.0) -> PatientStore:
    clock = SetClock()

    async def pause(seconds: float) -> None:
        clock.move(seconds)

    return PatientStore(flaky, clock, patience_s=patience_s, pause=pause)


async def test_an_append_is_tried_until_the_database_is_back(flaky: Flaky) -> None:
    flaky.fails = 12
    await patient(flaky).append("ses_1", [STARTED], expected_seq=0)
    assert [stored.event for stored in await flaky.events("ses_1")] == [STARTED]


async def test_an_append_whose_answer_was_lost_is_written_once(flaky: Flaky) -> None:
    store = patient(flaky)
    flaky.fails, flaky.lost = 1, True
    await store.append("ses_1", [STARTED], expected_seq=0)
    flaky.fails = 1
    stored = await store.append("ses_1", [SAID, DONE], expected_seq=1)
    assert [each.seq for each in stored] == [2, 3]
    assert [each.event for each in await flaky.events("ses_1")] == [STARTED, SAID, DONE]


async def test_what_somebody_else_wrote_there_is_not_taken_for_our_own(flaky: Flaky) -> None:
    await flaky.append("ses_1", [STARTED], expected_seq=0)
    await flaky.append("ses_1", [TurnStarted("turn_2", "hello", "en")], expected_seq=1)
    flaky.fails = 1
    with pytest.raises(TurnInProgress):
        await patient(flaky).append("ses_1", [SAID], expected_seq=1)


async def test_patience_ends(flaky: Flaky) -> None:
    flaky.fails = 10_000
    with pytest.raises(StoreUnavailable):
        await patient(flaky, patience_s=5.0).events("ses_1")
    assert flaky.fails > 9_900


@pytest.mark.parametrize("lost", [False, True])
async def test_a_turn_is_opened_once_however_often_it_is_tried(flaky: Flaky, lost: bool) -> None:
    store = patient(flaky)
    (first,) = await store.append("ses_1", [STARTED], expected_seq=0)
    flaky.fails, flaky.lost = 1, lost
    opening = await store.open_turn("ses_1", [SAID], expected_seq=1, expected_hash=first.hash, ttl_s=5.0)
    assert [stored.event for stored in opening.stored] == [SAID]
    assert [stored.event for stored in await flaky.events("ses_1")] == [STARTED, SAID]
