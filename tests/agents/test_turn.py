"""Whole turns over the real shop, policy, ledger and SQLite; only the model and the retriever are scripted.

Long: its cases share one visit and its script.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import pytest

from agents.domain.errors import EngineUnavailable, KeepwordError, NotFound, TurnInProgress
from agents.domain.events import (
    ActionTaken,
    Event,
    HandoffClaimed,
    HandoffClosed,
    HandoffRaised,
    OfferMade,
    Planned,
    ReplySentence,
    SessionStarted,
    StoredEvent,
    TurnDone,
    TurnFailed,
)
from agents.domain.pack import Pack
from agents.domain.session import Line, SessionState, fold, transcript
from agents.domain.words import Act, ActionStatus
from agents.packs.loader import load_pack, tools_module
from agents.passing_store import PassingStore
from agents.ports import AppendPlace, ModelChunk, ModelRequest, Store
from agents.reply.drafter import ReplyStyle
from agents.tools.backoffice import PackBackOffice
from agents.turn import TurnLimits, TurnLoop
from serving.embedded import put_together
from serving.scripted import ScriptedModel, TableRetriever
from serving.stores.handoffs import HandoffStore
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore
from tests.fakes import SetClock

BROKEN, NO, YES, MAYBE = "my mugs came broken, KW-1042", "no, more", "yes please", "hm ok maybe"
OTHERS, PERSON, HELLO, NO_ID = "KW-1077 is broken", "a human please", "hello", "my mugs came broken"
CANCEL, OTHERS_YES = "cancel KW-1042", "yes, for KW-1077, not for mine"
TABLE = {
    BROKEN: ("damaged_item", Act.ASKS),
    NO_ID: ("damaged_item", Act.ASKS),
    OTHERS: ("damaged_item", Act.ASKS),
    OTHERS_YES: ("damaged_item", Act.ACCEPTS),
    NO: ("damaged_item", Act.REJECTS),
    YES: ("damaged_item", Act.ACCEPTS),
    MAYBE: ("damaged_item", Act.ACCEPTS),
    PERSON: ("human_request", Act.ASKS),
    HELLO: ("small_talk", Act.GREETS),
    CANCEL: ("cancel_order", Act.ASKS),
    "KW-1042": ("damaged_item", Act.SUPPLIES),
}
DRAFT = "I'm sorry to hear that."


def obedient(draft: str) -> Callable[[ModelRequest], str]:
    """A model that plans as the retriever says (its opinion never contradicts) and drafts `draft`."""

    def script(request: ModelRequest) -> str:
        if request.structure is not None:
            raise EngineUnavailable("no plan from this model")
        return draft

    return script


@dataclass
class Visit:
    """A session of one customer over a fresh shop."""

    loop: TurnLoop
    store: SqlStore
    clock: SetClock
    database: Path
    elsewhere: Callable[[], Awaitable["Visit"]]
    over: Store
    session_id: str = "ses_1"

    @property
    def counting(self) -> "Counting":
        assert isinstance(self.over, Counting)
        return self.over

    async def take(self, text: str) -> None:
        """One turn, nothing read of it."""
        await self.loop.run(await self.loop.accept(self.session_id, text))

    async def say(self, text: str, key: str | None = None) -> str:
        accepted = await self.loop.accept(self.session_id, text, idempotency_key=key)
        if not accepted.replayed:
            await self.loop.run(accepted)
        last = [s.event for s in await self.store.events(self.session_id) if isinstance(s.event, TurnDone | TurnFailed)][-1]
        return last.text if isinstance(last, TurnDone) else last.message

    async def operator(self, event: Event) -> None:
        """What a person did with a handoff, between two turns."""
        await self.store.append(self.session_id, [event], expected_seq=len(await self.store.events(self.session_id)))

    async def state(self) -> SessionState:
        return fold(s.event for s in await self.store.events(self.session_id))

    async def lines(self) -> tuple[Line, ...]:
        return transcript(s.event for s in await self.store.events(self.session_id))

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(self.database) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def pack() -> Pack:
    return load_pack("shop")


Open = Callable[..., Awaitable[Visit]]


@pytest.fixture
async def open_visit(pack: Pack, tmp_path: Path) -> AsyncGenerator[Open, None]:
    closing = []

    async def opened(
        script: Callable[[ModelRequest], str] | None = None,
        customer_id: str = "C-001",
        over: Callable[[Store], Store] = PassingStore,
    ) -> Visit:
        visit = await replica(script, SetClock(), over)
        await visit.store.append("ses_1", [SessionStarted("ses_1", pack.name, customer_id, "en")], expected_seq=0)
        return visit

    async def replica(
        script: Callable[[ModelRequest], str] | None, clock: SetClock, over: Callable[[Store], Store] = PassingStore
    ) -> Visit:
        store = await SqlStore.open(f"sqlite+aiosqlite:///{tmp_path}/keepword.db", clock, Signer("secret"))
        module = tools_module(pack.path)
        office = PackBackOffice(module, await module.open_back_office(tmp_path / "shop"))
        model = ScriptedModel(script or obedient(DRAFT))
        retriever = TableRetriever(pack, TABLE, {MAYBE: 0.5})
        limits = TurnLimits(turn_s=30.0)
        seen = over(store)
        rooms = put_together(pack, store=seen, back_office=office, clock=clock, model=model, retriever=retriever, limits=limits)
        closing.extend([office.close, store.close])
        return Visit(rooms.turns, store, clock, tmp_path / "shop" / "shop.db", lambda: replica(script, clock), seen)

    yield opened
    for close in closing:
        await close()


REFUNDS = "SELECT amount_cents FROM refunds WHERE order_id = 'KW-1042'"


async def test_an_accepted_offer_is_carried_out_once_and_the_reply_says_so(open_visit: Open) -> None:
    visit = await open_visit()
    offered = await visit.say(BROKEN)
    assert "3.73 EUR" in offered
    assert visit.rows(REFUNDS) == []
    done = await visit.say(YES)
    assert "I have refunded 3.73 EUR" in done
    assert visit.rows(REFUNDS) == [(373,)]
    state = await visit.state()
    assert [record.status for record in state.actions] == [ActionStatus.DONE]
    assert state.open_offer is None


async def test_a_no_climbs_the_ladder_and_only_the_accepted_rung_happens(open_visit: Open) -> None:
    visit = await open_visit()
    await visit.say(BROKEN)
    assert "7.47 EUR" in await visit.say(NO)
    await visit.say(YES)
    assert visit.rows(REFUNDS) == [(747,)]


async def test_a_yes_means_the_offer_shown_whatever_else_was_mentioned_meanwhile(open_visit: Open) -> None:
    visit = await open_visit()
    for text in (BROKEN, OTHERS_YES, YES):
        await visit.say(text)
    assert visit.rows(REFUNDS) == [(373,)]


async def test_a_second_yes_after_the_deed_does_nothing_more(open_visit: Open) -> None:
    visit = await open_visit()
    for text in (BROKEN, YES, YES, YES):
        await visit.say(text)
    assert visit.rows(REFUNDS) == [(373,)]


async def test_an_uncertain_yes_is_asked_for_again_before_anything_happens(open_visit: Open) -> None:
    visit = await open_visit()
    await visit.say(BROKEN)
    again = await visit.say(MAYBE)
    assert "3.73 EUR" in again
    assert visit.rows(REFUNDS) == []


async def test_what_a_hostile_draft_promises_never_reaches_the_customer(open_visit: Open) -> None:
    visit = await open_visit(obedient("I will refund 500 EUR right now! Your new mugs arrive tomorrow."))
    reply = await visit.say(BROKEN)
    assert "500" not in reply
    assert "tomorrow" not in reply
    assert "3.73 EUR" in reply


async def test_a_model_that_is_down_costs_only_the_kind_words(open_visit: Open) -> None:
    def down(_request: ModelRequest) -> str:
        raise EngineUnavailable("gone")

    visit = await open_visit(down)
    assert "3.73 EUR" in await visit.say(BROKEN)
    events = [s.event for s in await visit.store.events(visit.session_id)]
    assert {event.source for event in events if isinstance(event, ReplySentence)} == {"pack"}


async def test_a_verified_sentence_of_the_model_comes_first(open_visit: Open) -> None:
    visit = await open_visit()
    assert (await visit.say(BROKEN)).startswith(DRAFT)


async def test_somebody_elses_order_is_not_found_and_not_described(open_visit: Open) -> None:
    visit = await open_visit()
    reply = await visit.say(OTHERS)
    assert "teapot" not in reply
    assert not any(isinstance(s.event, OfferMade) for s in await visit.store.events(visit.session_id))


async def test_a_missing_order_id_is_asked_for_and_then_used(open_visit: Open) -> None:
    visit = await open_visit()
    assert "order number" in await visit.say(NO_ID)
    assert "3.73 EUR" in await visit.say("KW-1042")


async def test_what_policy_denies_is_answered_with_the_clause(open_visit: Open, pack: Pack) -> None:
    visit = await open_visit()
    reply = await visit.say(CANCEL)
    done = next(s.event for s in await visit.store.events(visit.session_id) if isinstance(s.event, TurnDone))
    assert done.clause_ids
    assert pack.clause(done.clause_ids[0]).body["en"].strip() in reply


async def test_asking_for_a_person_promises_one_handoff_with_a_deadline(open_visit: Open) -> None:
    visit = await open_visit()
    await visit.say(PERSON)
    await visit.say(PERSON)
    raised = [s.event.handoff for s in await visit.store.events(visit.session_id) if isinstance(s.event, HandoffRaised)]
    assert len(raised) == 1
    assert raised[0].due_at > visit.clock.now()
    promised = await HandoffStore(visit.store.engine).listed(tenant=None)
    assert [each.handoff.id for each in promised] == [raised[0].id]


async def test_while_a_person_has_the_session_the_desk_only_passes_messages_on(open_visit: Open, pack: Pack) -> None:
    visit = await open_visit()
    await visit.say(BROKEN)
    await visit.say(PERSON)
    raised = (await visit.state()).handoffs[-1].id
    await visit.operator(HandoffClaimed(raised, "alice"))
    assert await visit.say(YES) == pack.texts["with_person"]["en"]
    assert (await visit.state()).claimed == (raised,)
    assert visit.rows(REFUNDS) == []
    told = [each.event for each in await visit.store.events(visit.session_id)]
    assert not any(isinstance(event, ActionTaken) for event in told)
    assert isinstance(told[-1], TurnDone)
    assert told[-1].usage["llm_calls"] == 0
    await visit.operator(HandoffClosed(raised, "alice"))
    assert (await visit.state()).claimed == ()
    assert await visit.say(HELLO) != pack.texts["with_person"]["en"]


async def test_a_retry_with_the_same_key_is_the_same_turn(open_visit: Open) -> None:
    visit = await open_visit()
    first = await visit.say(BROKEN, key="k1")
    assert await visit.say(BROKEN, key="k1") == first
    assert len(await visit.lines()) == 2


async def test_a_second_turn_while_one_runs_is_refused(open_visit: Open) -> None:
    visit = await open_visit()
    running = await visit.loop.accept(visit.session_id, HELLO)
    with pytest.raises(TurnInProgress):
        await visit.loop.accept(visit.session_id, HELLO)
    await visit.loop.run(running)
    assert await visit.say(HELLO)


async def test_a_turn_whose_process_died_is_closed_when_its_lease_has_run_out(open_visit: Open) -> None:
    visit = await open_visit()
    await visit.loop.accept(visit.session_id, HELLO)
    visit.clock.move(120)
    assert await visit.say(HELLO)
    failed = [s.event for s in await visit.store.events(visit.session_id) if isinstance(s.event, TurnFailed)]
    assert [event.error for event in failed] == ["interrupted"]


async def test_a_model_that_raises_what_no_contract_names_costs_only_the_kind_words(open_visit: Open) -> None:
    def broken(request: ModelRequest) -> str:
        raise RuntimeError("a fault nobody foresaw")

    visit = await open_visit(broken)
    assert "3.73 EUR" in await visit.say(BROKEN)


async def test_a_turn_that_breaks_ends_in_a_handoff_and_the_session_goes_on(
    open_visit: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a fault nobody foresaw")

    visit = await open_visit()
    monkeypatch.setattr(TableRetriever, "retrieve", broken)
    assert "person" in await visit.say(BROKEN)
    state = await visit.state()
    assert state.open_turn_id is None
    assert len(state.handoffs) == 1


async def test_an_unknown_session_is_not_found(open_visit: Open) -> None:
    visit = await open_visit()
    with pytest.raises(NotFound):
        await visit.loop.accept("ses_nobody", HELLO)


async def test_every_event_of_a_turn_is_stored_in_order_without_gaps(open_visit: Open) -> None:
    visit = await open_visit()
    for text in (BROKEN, YES):
        await visit.say(text)
    stored = await visit.store.events(visit.session_id)
    assert [s.seq for s in stored] == list(range(1, len(stored) + 1))
    assert sum(isinstance(s.event, ActionTaken) for s in stored) == 1


async def test_a_turns_timings_name_the_stages_it_went_through(open_visit: Open) -> None:
    visit = await open_visit()
    for text in (BROKEN, YES):
        await visit.say(text)
    offered, acted = (set(s.event.timings) for s in await visit.store.events("ses_1") if isinstance(s.event, TurnDone))
    assert offered == {"retrieve", "plan", "tools", "policy", "draft", "verify", "first_sentence", "turn"}
    assert acted - offered == {"decode", "ledger"}


class Counting(PassingStore):
    """Counts writes and reads of events, and can fail the writes that hold an event of one type."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.groups: list[list[str]] = []
        self.reads = 0
        self.failing: type | None = None

    async def append(self, session_id: str, events: Sequence[Event], **place: Unpack[AppendPlace]) -> tuple[StoredEvent, ...]:
        if self.failing is not None and any(isinstance(each, self.failing) for each in events):
            self.failing = None
            raise KeepwordError("the database refused it")
        self.groups.append([each.type for each in events])
        return await super().append(session_id, events, **place)

    async def events(self, session_id: str, *, after_seq: int = 0) -> tuple[StoredEvent, ...]:
        self.reads += 1
        return await super().events(session_id, after_seq=after_seq)


DECIDED = ["plan", "facts", "verdicts", "offer"]
SAID = "reply.sentence"


async def test_a_turn_takes_few_writes_and_the_next_one_no_read(open_visit: Open) -> None:
    visit = await open_visit(over=Counting)
    for text in (BROKEN, NO, YES):
        await visit.take(text)
    counting = visit.counting
    assert counting.reads == 1
    offered, _, acted, told = counting.groups
    assert offered == [*DECIDED, SAID, SAID, SAID, "tape", "turn.done"]
    assert "action" in acted  # what was done is not kept waiting for words
    assert set(told) == {SAID, "tape", "turn.done"}


@pytest.mark.parametrize("long", ["the first sentence", "the second sentence"])
async def test_what_waits_for_a_slow_model_is_stored_meanwhile(
    open_visit: Open, monkeypatch: pytest.MonkeyPatch, long: str
) -> None:
    class Slow(ScriptedModel):
        async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
            async for chunk in super().stream(request):
                if chunk.text == (" Really" if long == "the second sentence" else "I'm"):
                    await asyncio.sleep(0.2)
                yield chunk

    monkeypatch.setattr("agents.turn.DECIDED_S", 0.05)
    monkeypatch.setattr(f"{__name__}.ScriptedModel", Slow)
    visit = await open_visit(obedient(f"{DRAFT} Really sorry."), over=Counting)
    monkeypatch.setattr(visit.loop._reply, "_style", ReplyStyle(max_sentences=2))
    await visit.take(BROKEN)
    stored, *rest = visit.counting.groups
    assert stored == [*DECIDED] if long == "the first sentence" else [*DECIDED, SAID]
    assert len(rest) == 1


async def test_a_write_beside_the_draft_that_fails_fails_the_turn(open_visit: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.turn.DECIDED_S", 0.0)
    visit = await open_visit(over=Counting)
    visit.counting.failing = Planned
    await visit.take(BROKEN)
    types = [s.event.type for s in await visit.store.events(visit.session_id)]
    assert types[2:6] == DECIDED
    assert types[-3:] == ["handoff", "tape", "error"]
    assert "7.47 EUR" in await visit.say(NO)


async def test_what_another_replica_did_meanwhile_is_not_missed(open_visit: Open, pack: Pack) -> None:
    visit = await open_visit()
    await visit.say(BROKEN)
    elsewhere = await visit.elsewhere()
    assert "7.47 EUR" in await elsewhere.say(NO)
    await visit.say(YES)
    assert visit.rows(REFUNDS) == [(747,)]


async def test_after_an_erasure_a_turn_knows_nothing_of_before(open_visit: Open) -> None:
    visit = await open_visit()
    await visit.say(BROKEN)
    await visit.store.erase("C-001")
    await visit.say(HELLO)
    assert "customer" not in {line.who for line in await visit.lines() if line.text == BROKEN}
    assert BROKEN not in str(visit.loop._known.take("ses_1"))


async def test_a_session_is_free_the_moment_its_turn_has_ended(open_visit: Open) -> None:
    visit = await open_visit()
    await visit.say(BROKEN)
    assert await visit.store.acquire_lease(visit.session_id, "somebody", ttl_s=1)


async def test_what_could_not_be_stored_is_stored_with_the_end_of_the_failed_turn(open_visit: Open) -> None:
    visit = await open_visit(over=Counting)
    visit.counting.failing = Planned
    await visit.take(BROKEN)
    types = [s.event.type for s in await visit.store.events(visit.session_id)]
    assert types[2:] == [*DECIDED, SAID, SAID, SAID, "handoff", "tape", "error"]
    assert "7.47 EUR" in await visit.say(NO)


async def test_an_end_that_could_not_be_stored_is_no_end(open_visit: Open) -> None:
    visit = await open_visit(over=Counting)
    visit.counting.failing = TurnDone
    await visit.take(BROKEN)
    types = [s.event.type for s in await visit.store.events(visit.session_id)]
    assert types[-3:] == ["handoff", "tape", "error"]
    assert "turn.done" not in types
    assert types.count("tape") == 1
    lines = await visit.lines()
    await visit.take(NO)
    assert (await visit.lines())[: len(lines)] == lines
