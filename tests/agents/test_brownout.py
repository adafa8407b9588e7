"""What a turn gives up at each level of brown-out, and what it never gives up."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from agents.domain.brownout import Brownout
from agents.domain.events import HandoffRaised, SessionStarted, StoredEvent, TurnDone
from agents.domain.pack import Pack
from agents.domain.words import Act
from agents.packs.loader import load_pack, tools_module
from agents.ports import Allowance, ModelRequest
from agents.reply.drafter import within
from agents.tools.backoffice import PackBackOffice
from agents.tools.registry import collect
from agents.turn import TurnLoop
from serving.embedded import put_together
from serving.replay import differences
from serving.scripted import ScriptedModel, TableRetriever
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore
from tests.fakes import SetClock

BROKEN, UNSURE, NO, YES = "my mugs came broken, KW-1042", "well, mugs, KW-1042", "no, more", "yes please"
TABLE = {
    BROKEN: ("damaged_item", Act.ASKS),
    UNSURE: ("damaged_item", Act.ASKS),
    NO: ("damaged_item", Act.REJECTS),
    YES: ("damaged_item", Act.ACCEPTS),
}


def script(request: ModelRequest) -> str:
    if request.structure is None:
        return "I'm sorry to hear that."
    return "damaged_item rejects" if NO in request.messages[-1].content else "damaged_item asks"


@dataclass
class SetPressure:
    level: Brownout = Brownout.NORMAL

    def allow(self, tenant: str, deadline_s: float | None) -> Allowance:
        return Allowance(self.level, deadline_s)


@dataclass
class Visit:
    loop: TurnLoop
    store: SqlStore
    model: ScriptedModel
    folder: Path
    pressure: SetPressure = field(default_factory=SetPressure)

    async def say(self, text: str, level: Brownout = Brownout.NORMAL, deadline_s: float | None = None) -> tuple[TurnDone, int]:
        """The end of the turn and how many times the model was really asked."""
        self.pressure.level, before = level, len(self.model.requests)
        accepted = await self.loop.accept("ses_1", text)
        await self.loop.run(replace(accepted, deadline_s=deadline_s))
        last = (await self.events())[-1].event
        assert isinstance(last, TurnDone)
        return last, len(self.model.requests) - before

    async def events(self) -> tuple[StoredEvent, ...]:
        return await self.store.events("ses_1")

    def refunds(self) -> list[int]:
        with sqlite3.connect(self.folder / "shop.db") as connection:
            return [cents for (cents,) in connection.execute("SELECT amount_cents FROM refunds WHERE order_id = 'KW-1042'")]


@pytest.fixture(scope="module")
def pack() -> Pack:
    return load_pack("shop")


@pytest.fixture
async def visit(pack: Pack, tmp_path: Path) -> AsyncIterator[Visit]:
    clock, model, pressure = SetClock(), ScriptedModel(script), SetPressure()
    store = await SqlStore.open(f"sqlite+aiosqlite:///{tmp_path}/keepword.db", clock, Signer("secret"))
    module = tools_module(pack.path)
    office = PackBackOffice(module, await module.open_back_office(tmp_path))
    retriever = TableRetriever(pack, TABLE, {UNSURE: 0.5})
    rooms = put_together(
        pack, store=store, back_office=office, clock=clock, model=model, retriever=retriever, pressure=pressure
    )
    await store.append("ses_1", [SessionStarted("ses_1", pack.name, "C-001", "en")], expected_seq=0)
    yield Visit(rooms.turns, store, model, tmp_path, pressure)
    await office.close()
    await store.close()


@pytest.mark.parametrize(
    ("level", "calls"),
    [
        (Brownout.NORMAL, 2),
        (Brownout.SHORTER, 2),
        (Brownout.ONE_CALL, 1),
        (Brownout.WORDING, 0),
        (Brownout.HANDOFF, 0),
    ],
)
async def test_each_level_asks_the_model_less_and_says_the_same_true_things(visit: Visit, level: Brownout, calls: int) -> None:
    done, asked = await visit.say(BROKEN, level)
    assert (asked, done.usage["llm_calls"], done.usage.get("brownout", 0)) == (calls, calls, level)
    assert "3.73 EUR" in done.text
    assert ("sorry" in done.text) == (level < Brownout.ONE_CALL)


async def test_a_shorter_reply_is_asked_for_in_fewer_tokens(visit: Visit) -> None:
    await visit.say(BROKEN)
    normal = visit.model.requests[-1].max_tokens
    await visit.say(NO, Brownout.SHORTER)
    assert visit.model.requests[-1].max_tokens < normal


async def test_a_draft_is_the_one_call_of_a_turn_that_planned_without(visit: Visit) -> None:
    await visit.say(BROKEN)
    done, asked = await visit.say(YES, Brownout.ONE_CALL)
    assert (asked, done.usage["llm_calls"]) == (1, 1)


async def test_what_retrieval_is_not_sure_of_is_still_planned_by_the_model_at_clause_wording(visit: Visit) -> None:
    assert (await visit.say(UNSURE, Brownout.WORDING))[1] == 1


async def test_without_the_model_what_nobody_is_sure_of_goes_to_a_person(visit: Visit) -> None:
    done, asked = await visit.say(UNSURE, Brownout.HANDOFF)
    assert asked == 0
    assert [type(each.event) for each in await visit.events()].count(HandoffRaised) == 1
    assert "EUR" not in done.text


@pytest.mark.parametrize("level", list(Brownout))
async def test_at_every_level_a_yes_is_carried_out_once_and_only_a_yes(visit: Visit, level: Brownout) -> None:
    await visit.say(BROKEN, level)
    await visit.say(NO, level)
    assert visit.refunds() == []
    await visit.say(YES, level)
    await visit.say(YES, level)
    assert visit.refunds() == [747]


async def test_with_no_time_left_nothing_is_drafted(visit: Visit) -> None:
    done, asked = await visit.say(BROKEN, deadline_s=-1.0)
    assert asked == 1
    assert "3.73 EUR" in done.text


async def test_a_browned_out_turn_replays_as_it_was(visit: Visit, pack: Pack) -> None:
    for text, level in (
        (BROKEN, Brownout.WORDING),
        (NO, Brownout.ONE_CALL),
        (UNSURE, Brownout.HANDOFF),
        (YES, Brownout.NORMAL),
    ):
        await visit.say(text, level, deadline_s=9.0)
    specs = [bound.spec for bound in collect(tools_module(pack.path))]
    found = [each async for _, differing in differences(pack, specs, "ses_1", await visit.events()) for each in differing]
    assert found == []


async def test_a_drafts_time_does_not_run_out_on_whoever_takes_its_sentences() -> None:
    async def sentences() -> AsyncGenerator[str, None]:
        yield "one"
        await asyncio.Event().wait()

    taken = []

    async def take() -> None:
        async for sentence in within(sentences(), 0.01):
            loop, passed = asyncio.get_running_loop(), asyncio.Event()
            loop.call_later(0.03, passed.set)
            await passed.wait()  # the store is slow: longer than the draft had
            taken.append(sentence)

    with pytest.raises(TimeoutError):
        await take()
    assert taken == ["one"]
