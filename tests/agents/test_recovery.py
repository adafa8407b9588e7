"""After a crash or a lost answer: the session says what is true, and what nobody can tell goes to a person."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from agents.domain.events import ActionTaken, TurnFailed, TurnStarted
from agents.domain.words import Act, ActionStatus
from agents.packs.loader import load_pack, tools_module
from agents.recovery import TRIES
from agents.tools.backoffice import PackBackOffice
from bench.faults import FaultyOffice
from serving.embedded import EmbeddedDesk
from serving.scripted import ScriptedModel, TableRetriever
from tests.fakes import SetClock

BROKEN, YES, HELLO = "my mugs came broken, KW-1042", "yes please", "hello"
TABLE = {BROKEN: ("damaged_item", Act.ASKS), YES: ("damaged_item", Act.ACCEPTS), HELLO: ("small_talk", Act.GREETS)}


@asynccontextmanager
async def visit(folder: Path, clock: SetClock) -> AsyncGenerator[tuple[EmbeddedDesk, FaultyOffice], None]:
    """A session with an open offer."""
    pack = load_pack("shop")
    module = tools_module(pack.path)
    inner = PackBackOffice(module, await module.open_back_office(folder))
    office = FaultyOffice(inner)
    try:
        async with EmbeddedDesk.open(
            pack,
            model=ScriptedModel([]),
            data_dir=folder,
            retriever=TableRetriever(pack, TABLE),
            back_office=office,
            clock=clock,
        ) as desk:
            await desk.start_session("C-001", session_id="ses_1", locale="en")
            await desk.say("ses_1", BROKEN)
            yield desk, office
    finally:
        await inner.close()


async def test_a_line_that_stays_unknown_goes_to_a_person_once(tmp_path: Path) -> None:
    clock = SetClock()
    async with visit(tmp_path, clock) as (desk, office):
        office.idempotent = False
        office.faults = ["lost"]
        await desk.say("ses_1", YES)
        promised = len((await desk.state("ses_1")).handoffs)
        for _ in range(TRIES * 3):
            clock.move(700)
            await desk.rooms.recovery.sweep()
        state = await desk.state("ses_1")
        assert len(state.handoffs) == promised + 1
        assert "refund_partial" in state.handoffs[-1].reason
        assert office.calls == 1


async def test_an_unknown_line_is_tried_at_growing_intervals(tmp_path: Path) -> None:
    clock = SetClock()
    async with visit(tmp_path, clock) as (desk, office):
        office.faults = ["blind"]
        await desk.say("ses_1", YES)
        assert await desk.rooms.recovery.sweep() == ()
        clock.move(2)
        assert len(await desk.rooms.recovery.sweep()) == 1
        clock.move(2)
        assert await desk.rooms.recovery.sweep() == ()
        office.blind = False
        clock.move(2)
        assert [record.status for record in await desk.rooms.recovery.sweep()] == [ActionStatus.DONE]


async def test_a_session_whose_turn_died_is_told_what_was_carried_out(tmp_path: Path) -> None:
    clock = SetClock()
    async with visit(tmp_path, clock) as (desk, _office):
        state, stored = await desk.state("ses_1"), await desk.events("ses_1")
        assert state.open_offer is not None
        await desk.store.append("ses_1", [TurnStarted("turn_lost", YES, "en")], expected_seq=stored[-1].seq)
        await desk.rooms.ledger.execute(state.open_offer, session_id="ses_1", customer_id="C-001")
        await desk.say("ses_1", HELLO)
        events = [each.event for each in await desk.events("ses_1")]
        told = next(event for event in events if isinstance(event, TurnFailed))
        assert (told.turn_id, told.error) == ("turn_lost", "interrupted")
        assert "I have refunded 3.73 EUR" in told.message
        assert any(isinstance(event, ActionTaken) for event in events)
        assert (await desk.state("ses_1")).open_offer is None


async def test_a_session_whose_turn_died_before_anything_happened_keeps_its_offer(tmp_path: Path) -> None:
    async with visit(tmp_path, SetClock()) as (desk, _):
        stored = await desk.events("ses_1")
        await desk.store.append("ses_1", [TurnStarted("turn_lost", YES, "en")], expected_seq=stored[-1].seq)
        reply = await desk.say("ses_1", YES)
        assert [record.status for record in reply.actions] == [ActionStatus.DONE]
