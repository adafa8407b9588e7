"""Turns whose process died are answered to the end by another, once, and truthfully."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Unpack

import pytest

from agents.domain.events import Event, HandoffRaised, StoredEvent, TurnDone, TurnFailed, TurnRestarted
from agents.domain.words import Act, ActionRecord, ActionStatus
from agents.lease import TTL_S
from agents.packs.loader import load_pack, tools_module
from agents.passing_store import PassingStore
from agents.ports import AppendPlace, ModelChunk, ModelRequest
from agents.tools.backoffice import PackBackOffice
from agents.tools.registry import collect
from agents.turn import AcceptedTurn
from bench.faults import FaultyOffice
from serving.embedded import EmbeddedDesk
from serving.replay import differences
from serving.scripted import ScriptedModel, TableRetriever
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore
from tests.fakes import SetClock

BROKEN, NO, YES, HELLO = "my mugs came broken, KW-1042", "no, more", "yes please", "hello"
TABLE = {
    BROKEN: ("damaged_item", Act.ASKS),
    NO: ("damaged_item", Act.REJECTS),
    YES: ("damaged_item", Act.ACCEPTS),
    HELLO: ("small_talk", Act.GREETS),
}
SESSION = "ses_1"


class DyingStore(PassingStore):
    """A store whose process dies when it would write an event of kind `dies_at`: nothing it does reaches the database then."""

    dies_at: type[Event] | None = None

    def __init__(self, inner: SqlStore) -> None:
        super().__init__(inner)
        self.dead = asyncio.Event()

    async def append(self, session_id: str, events: Sequence[Event], **place: Unpack[AppendPlace]) -> tuple[StoredEvent, ...]:
        if self.dies_at is not None and any(isinstance(each, self.dies_at) for each in events):
            self.dead.set()
            await asyncio.Event().wait()
        return await super().append(session_id, events, **place)

    async def release_lease(self, session_id: str, holder: str) -> None:
        if not self.dead.is_set():
            await super().release_lease(session_id, holder)


class Visit:
    """One session with an open offer of 3.73 EUR."""

    def __init__(self, desk: EmbeddedDesk, store: DyingStore, office: FaultyOffice, clock: SetClock, shop: Path) -> None:
        self.desk, self.store, self.office, self.clock, self._shop = desk, store, office, clock, shop
        self._gone: list[asyncio.Task[object]] = []

    async def dies(self, text: str, at: type[Event]) -> None:
        """Say `text` to a process that dies when it would write `at`."""
        self.store.dies_at = at
        answering = asyncio.create_task(self.desk.say(SESSION, text))
        await self.store.dead.wait()
        answering.cancel()
        self._gone.append(answering)  # its write never ends
        self.store.dies_at = None
        self.store.dead.clear()

    async def sweep(self, wait_s: float = TTL_S + 1) -> int:
        """Two looks, as `watch` makes them, when the lease has run out."""
        self.clock.move(wait_s)
        assert await self.desk.rooms.orphans.sweep(self.desk.rooms.turns.run) == 0
        return await self.desk.rooms.orphans.sweep(self.desk.rooms.turns.run)

    async def events(self, kind: type[Event]) -> list[StoredEvent]:
        return [stored for stored in await self.desk.events(SESSION) if isinstance(stored.event, kind)]

    async def reply(self) -> str:
        """The last turn's reply; it must have one end, a good one."""
        state = await self.desk.state(SESSION)
        assert state.open_turn_id is None
        assert not await self.events(TurnFailed)
        assert state.desk_said is not None
        return state.desk_said

    def refunds(self) -> list[int]:
        with sqlite3.connect(self._shop) as shop:
            return [row[0] for row in shop.execute("SELECT amount_cents FROM refunds WHERE order_id = 'KW-1042'")]

    async def intended(self, accepted: AcceptedTurn) -> ActionRecord:
        """The ledger's line as a process leaves it that dies before it calls the tool."""
        offer = accepted.state.open_offer
        assert offer is not None
        assert offer.amount is not None
        now = self.clock.now()
        begun = {"attempt": "a", "attempted_at": now.isoformat()}
        line = ActionRecord(offer.id, SESSION, "C-001", offer.proposal, offer.amount.minor, ActionStatus.INTENDED, begun, now)
        return await self.desk.store.intend(line)


class Pondering(ScriptedModel):
    """Says nothing, after a moment."""

    def __init__(self) -> None:
        super().__init__([])

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        await asyncio.sleep(0.02)
        async for chunk in super().stream(request):
            yield chunk


@asynccontextmanager
async def visiting(folder: Path) -> AsyncGenerator[Visit, None]:
    pack, clock = load_pack("shop"), SetClock()
    module = tools_module(pack.path)
    inner = PackBackOffice(module, await module.open_back_office(folder))
    sql = await SqlStore.open(f"sqlite+aiosqlite:///{folder}/keepword.db", clock, Signer("secret"))
    store, office = DyingStore(sql), FaultyOffice(inner)
    try:
        async with EmbeddedDesk.open(
            pack,
            model=Pondering(),
            data_dir=folder,
            retriever=TableRetriever(pack, TABLE),
            store=store,
            back_office=office,
            clock=clock,
        ) as desk:
            await desk.start_session("C-001", session_id=SESSION, locale="en")
            await desk.say(SESSION, BROKEN)
            yield Visit(desk, store, office, clock, folder / "shop.db")
    finally:
        await inner.close()
        await sql.close()


async def test_a_turn_that_died_before_anything_was_done_is_answered_from_its_message(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visit:
        accepted = await visit.desk.rooms.turns.accept(SESSION, YES)
        assert await visit.sweep() == 1
        assert "I have refunded 3.73 EUR" in await visit.reply()
        assert visit.refunds() == [373]
        done = (await visit.events(TurnDone))[-1].event
        assert isinstance(done, TurnDone)
        assert done.turn_id == accepted.turn_id


@pytest.mark.parametrize("at", [TurnDone, HandoffRaised])
async def test_what_a_dead_attempt_already_decided_does_not_count(
    tmp_path: Path, at: type[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.turn.DECIDED_S", 0.01)  # as where a sentence is long in coming
    async with visiting(tmp_path) as visit:
        if at is HandoffRaised:  # the customer declines everything there is, and is promised a person
            for _ in range(3):
                await visit.desk.say(SESSION, NO)
        await visit.dies(NO, TurnDone)
        offered = (await visit.desk.state(SESSION)).open_offer
        promised = len((await visit.desk.state(SESSION)).handoffs)
        assert await visit.sweep() == 1
        state = await visit.desk.state(SESSION)
        assert state.open_offer == offered  # not the rung after the one the dead attempt had found
        assert len(state.handoffs) == promised
        assert await visit.reply()
        assert len(await visit.events(TurnRestarted)) == 1
        specs = [bound.spec for bound in collect(tools_module(visit.desk.pack.path))]
        played = [each async for each in differences(visit.desk.pack, specs, SESSION, await visit.desk.events(SESSION))]
        assert [found for _, found in played if found] == []  # the second attempt is what a replay comes to


async def test_an_action_the_dead_turn_carried_out_is_told_and_not_done_again(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visit:
        accepted = await visit.desk.rooms.turns.accept(SESSION, YES)
        assert accepted.state.open_offer is not None
        await visit.desk.rooms.ledger.execute(accepted.state.open_offer, session_id=SESSION, customer_id="C-001")
        assert await visit.sweep() == 1
        assert "I have refunded 3.73 EUR" in await visit.reply()
        assert visit.refunds() == [373]
        state = await visit.desk.state(SESSION)
        assert (state.open_offer, [record.status for record in state.actions]) == (None, [ActionStatus.DONE])


async def test_an_action_that_was_only_intended_is_settled_first(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visit:
        await visit.intended(await visit.desk.rooms.turns.accept(SESSION, YES))
        assert await visit.sweep(TTL_S + 0.1) == 1
        assert (await visit.desk.state(SESSION)).open_turn_id is not None  # the dead process's call may still land
        assert await visit.sweep(20) == 1
        assert "I have refunded 3.73 EUR" in await visit.reply()
        assert visit.refunds() == [373]


async def test_an_action_nobody_can_tell_of_goes_to_a_person(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visit:
        visit.office.idempotent = False
        await visit.intended(await visit.desk.rooms.turns.accept(SESSION, YES))
        assert await visit.sweep(30) == 1
        assert "person" in await visit.reply()
        assert len((await visit.desk.state(SESSION)).handoffs) == 1
        assert visit.refunds() == []


async def test_a_turn_whose_process_renews_again_is_left_to_it(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visit:
        accepted = await visit.desk.rooms.turns.accept(SESSION, HELLO)
        orphans = visit.desk.rooms.orphans
        visit.clock.move(TTL_S + 1)
        assert await orphans.sweep(visit.desk.rooms.turns.run) == 0
        await visit.store.renew_leases([(SESSION, accepted.holder)], ttl_s=TTL_S)
        visit.clock.move(TTL_S + 1)
        assert await orphans.sweep(visit.desk.rooms.turns.run) == 0
        await visit.desk.rooms.turns.run(accepted)
        assert await visit.reply()
        assert not await visit.events(TurnRestarted)


async def test_a_process_that_was_only_slow_says_nothing_after_it_was_replaced(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visit:
        slow = await visit.desk.rooms.turns.accept(SESSION, YES)
        assert await visit.sweep() == 1
        told = [stored.seq for stored in await visit.desk.events(SESSION)]
        await visit.desk.rooms.turns.run(slow)
        assert [stored.seq for stored in await visit.desk.events(SESSION)] == told
        assert visit.refunds() == [373]


async def test_a_lease_left_without_a_turn_is_given_back(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visit:
        assert await visit.store.acquire_lease(SESSION, "somebody", ttl_s=TTL_S)
        assert await visit.sweep() == 0
        assert await visit.store.expired_leases() == ()
        assert (await visit.desk.say(SESSION, HELLO)).done
