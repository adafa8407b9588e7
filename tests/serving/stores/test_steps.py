"""Offers of several writes over the real store, on both databases: all done, all undone, or a person's, whatever breaks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from agents.domain.errors import ToolFailed, ToolFailure, ToolRefused, ToolUnknown, TurnInProgress
from agents.domain.events import OfferMade, SessionStarted
from agents.domain.money import Money
from agents.domain.words import ActionRecord, ActionStatus, Compensation, Offer, Proposal, Step, ToolSpec
from agents.ledger.ledger import FRESH, Ledger
from agents.ledger.steps import Standing, standing
from agents.ports import Permits, ToolCall
from serving.stores.sql import SqlStore
from tests.fakes import SetClock

DONE, FAILED, REFUSED, UNDONE = ActionStatus.DONE, ActionStatus.FAILED, ActionStatus.REFUSED, ActionStatus.UNDONE
STUCK, UNKNOWN, PLANNED = ActionStatus.STUCK, ActionStatus.UNKNOWN, ActionStatus.PLANNED
GIVE, BOOK, CLOSE = Proposal("give", {"amount_cents": 500}), Proposal("book", {"day": 7}), Proposal("close", {"order_id": "A"})
OFFER = Offer(
    "of_1",
    "late",
    0,
    GIVE,
    Money(500, "EUR"),
    {},
    {},
    (),
    then=(Step(BOOK, None, {}), Step(CLOSE, None, {})),
)


class Crash(BaseException):
    """The process ends here: nothing of ours may catch it."""


@dataclass
class Shop:
    """A back office whose writes happen once a key. `breaks` maps a tool to what its next calls raise, in turn: a Crash and a
    ToolUnknown after the write was done, another before it; None: nothing."""

    receipts: dict[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    breaks: dict[str, list[BaseException | None]] = field(default_factory=dict)
    blind: bool = False
    order: list[str] = field(default_factory=list)
    undo: bool = True

    def specs(self) -> Sequence[ToolSpec]:
        by = {"give": Compensation("take", {"code": "receipt.code", "amount_cents": "args.amount_cents"})}
        by["book"] = Compensation("cancel", {"day": "args.day"})
        names = ("give", "book", "close", "take", "cancel")
        undone = by if self.undo else {}
        return tuple(ToolSpec(name, "write", "", (), None, {}, undo=undone.get(name)) for name in names)

    async def call(self, tool: str, args: Mapping[str, Any], call: ToolCall) -> Mapping[str, Any]:
        error = next(iter(self.breaks.get(tool, ())), None)
        if self.breaks.get(tool):
            self.breaks[tool].pop(0)
        if isinstance(error, ToolFailure) and not isinstance(error, ToolUnknown):
            raise error
        key = call.key or ""
        if key not in self.receipts:
            self.receipts[key] = (tool, {"code": f"C-{key}", **args})
            self.order.append(tool)
        if error is not None:
            raise error
        return self.receipts[key][1]

    async def outcome(self, proposal: Proposal, call: ToolCall) -> Mapping[str, Any] | None:
        if self.blind:
            raise ToolUnknown("no answer")
        found = self.receipts.get(call.key or "")
        return None if found is None else found[1]


@dataclass
class Desk:
    store: SqlStore
    clock: SetClock
    shop: Shop = field(default_factory=Shop)

    @property
    def ledger(self) -> Ledger:
        """A new one each time, as after a restart."""

        async def pause(seconds: float) -> None:
            self.clock.move(seconds)

        return Ledger(self.store, self.shop, self.clock, pause=pause)

    async def execute(self, permits: Permits | None = None) -> list[ActionStatus]:
        lines = await self.ledger.execute(OFFER, session_id="s", customer_id="C-1", permits=permits)
        return [line.status for line in lines]

    async def crash(self) -> None:
        with pytest.raises(Crash):
            await self.execute()
        self.clock.move(60)

    async def lines(self) -> tuple[ActionRecord, ...]:
        return await self.store.lines("of_1")

    async def statuses(self) -> list[ActionStatus]:
        return [line.status for line in await self.lines()]


@pytest.fixture
def desk(store: SqlStore, clock: SetClock) -> Desk:
    return Desk(store, clock)


async def test_every_step_is_carried_out_in_order_under_a_key_of_its_own(desk: Desk) -> None:
    assert await desk.execute() == [DONE] * 3
    assert desk.shop.order == ["give", "book", "close"]
    assert [line.key for line in await desk.lines()] == ["of_1", "of_1.1", "of_1.2"]
    assert await desk.execute() == [DONE] * 3
    assert len(desk.shop.order) == 3
    assert await desk.store.unsettled() == ()


@pytest.mark.parametrize("error", [ToolRefused("no"), ToolFailed("down")])
async def test_what_was_done_is_undone_in_reverse_when_a_step_certainly_was_not(desk: Desk, error: ToolFailure) -> None:
    desk.shop.breaks = {"close": [error]}
    ended = await desk.execute()
    assert ended == [UNDONE, UNDONE, REFUSED if isinstance(error, ToolRefused) else FAILED, DONE, DONE]
    assert desk.shop.order == ["give", "book", "cancel", "take"]
    lines = await desk.lines()
    assert [line.undoes for line in lines[3:]] == ["of_1.1", "of_1"]
    assert lines[4].proposal == Proposal("take", {"code": "C-of_1", "amount_cents": 500})
    assert standing(lines) is Standing.UNDONE


async def test_what_was_undone_counts_no_longer_and_is_final(desk: Desk) -> None:
    desk.shop.breaks = {"book": [ToolRefused("no")]}
    await desk.execute()
    counted = await desk.store.actions("C-1", since=desk.clock.now().replace(year=2000))
    assert [line.key for line in counted if not line.undoes] == []
    assert await desk.execute() == [UNDONE, REFUSED, FAILED, DONE]
    assert desk.shop.order == ["give", "take"]


async def test_a_first_step_that_failed_may_be_tried_again_with_all_the_others(desk: Desk) -> None:
    desk.shop.breaks = {"give": [ToolFailed("down")]}
    assert await desk.execute() == [FAILED] * 3
    assert await desk.execute() == [DONE] * 3


async def test_what_is_not_permitted_is_written_as_one_failed_line(desk: Desk) -> None:
    assert await desk.execute(lambda spent: False) == [FAILED]
    assert await desk.execute(lambda spent: not spent) == [DONE] * 3


async def test_steps_that_wait_count_against_caps_from_the_yes_on(desk: Desk) -> None:
    desk.shop.breaks = {"give": [Crash()]}
    await desk.crash()
    counted = await desk.store.actions("C-1", since=desk.clock.now().replace(year=2000))
    assert [line.status for line in counted] == [ActionStatus.INTENDED, PLANNED, PLANNED]


@pytest.mark.parametrize("tool", ["give", "book", "close"])
async def test_a_crash_in_a_step_is_carried_to_the_end_while_the_yes_is_fresh(desk: Desk, tool: str) -> None:
    desk.shop.breaks = {tool: [Crash()]}
    await desk.crash()
    await desk.ledger.recover()
    assert await desk.statuses() == [DONE] * 3
    assert desk.shop.order == ["give", "book", "close"]


@pytest.mark.parametrize(
    ("tool", "ended", "order"),
    [
        ("give", [UNDONE, FAILED, FAILED, DONE], ["give", "take"]),
        ("book", [UNDONE, UNDONE, FAILED, DONE, DONE], ["give", "book", "cancel", "take"]),
        ("close", [DONE, DONE, DONE], ["give", "book", "close"]),
    ],
)
async def test_a_crash_whose_yes_is_old_by_now_is_undone_unless_it_was_the_last(
    desk: Desk, tool: str, ended: list[ActionStatus], order: list[str]
) -> None:
    desk.shop.breaks = {tool: [Crash()]}
    await desk.crash()
    desk.clock.move(FRESH.total_seconds())
    await desk.ledger.recover()
    assert await desk.statuses() == ended
    assert desk.shop.order == order


@pytest.mark.parametrize("tool", ["cancel", "take"])
async def test_a_crash_while_undoing_is_undone_once_however_old_the_yes(desk: Desk, tool: str) -> None:
    desk.shop.breaks = {"close": [ToolRefused("no")], tool: [Crash()]}
    await desk.crash()
    desk.clock.move(FRESH.total_seconds() * 2)
    await desk.ledger.recover()
    assert await desk.statuses() == [UNDONE, UNDONE, REFUSED, DONE, DONE]
    assert desk.shop.order == ["give", "book", "cancel", "take"]


async def test_a_second_yes_carries_on_what_a_crash_left(desk: Desk) -> None:
    desk.shop.breaks = {"book": [Crash()]}
    await desk.crash()
    assert await desk.execute() == [DONE] * 3
    assert desk.shop.order == ["give", "book", "close"]


async def test_nothing_further_happens_while_a_step_is_unknown(desk: Desk) -> None:
    desk.shop.breaks = {"book": [ToolUnknown("lost")]}
    desk.shop.blind = True
    assert await desk.execute() == [DONE, UNKNOWN, PLANNED]
    await desk.ledger.recover()
    assert await desk.statuses() == [DONE, UNKNOWN, PLANNED]
    assert standing(await desk.lines()) is Standing.PENDING
    desk.shop.blind = False
    await desk.ledger.recover()
    assert await desk.statuses() == [DONE] * 3


async def test_a_failed_undoing_is_tried_again_until_it_is_done(desk: Desk) -> None:
    desk.shop.breaks = {"close": [ToolRefused("no")], "cancel": [ToolFailed("busy")]}
    assert await desk.execute() == [DONE, DONE, REFUSED, UNKNOWN, PLANNED]
    assert "take" not in desk.shop.order
    await desk.ledger.recover()
    assert await desk.statuses() == [UNDONE, UNDONE, REFUSED, DONE, DONE]


async def test_a_refused_undoing_is_stuck_and_what_was_done_before_stays(desk: Desk) -> None:
    desk.shop.breaks = {"close": [ToolRefused("no")], "cancel": [ToolRefused("too late")]}
    assert await desk.execute() == [DONE, DONE, REFUSED, STUCK, FAILED]
    assert desk.shop.order == ["give", "book"]
    assert standing(await desk.lines()) is Standing.HALF_DONE
    assert [line.status for line in await desk.store.unsettled()] == [STUCK]


async def test_what_nothing_undoes_is_a_persons_when_a_later_step_fails(desk: Desk) -> None:
    desk.shop.undo = False
    desk.shop.breaks = {"close": [ToolRefused("no")]}
    assert await desk.execute() == [DONE, DONE, REFUSED, STUCK]
    assert (await desk.lines())[3].result == {"reason": "nothing undoes book"}
    assert await desk.ledger.recover() == tuple(await desk.store.unsettled())
    assert desk.shop.order == ["give", "book"]


async def test_of_two_processes_at_one_planned_step_one_begins_it(desk: Desk) -> None:
    desk.shop.breaks = {"give": [Crash()]}
    await desk.crash()
    line = replace((await desk.lines())[1], status=ActionStatus.INTENDED, result={"attempt": "mine"})
    assert [await desk.store.begin(line), await desk.store.begin(line)] == [True, False]


async def test_a_receipt_replaces_a_refusal_and_nothing_replaces_a_receipt(desk: Desk) -> None:
    await desk.execute()
    first = (await desk.lines())[0]
    await desk.store.settle(replace(first, status=FAILED, result={}))
    assert (await desk.statuses())[0] is DONE
    other = replace(first, key="of_2", offer_id="", status=REFUSED)
    await desk.store.intend(other)
    await desk.store.settle(replace(other, status=DONE, result={"code": "C"}))
    assert [line.status for line in await desk.store.lines("of_2")] == [DONE]


async def test_what_follows_a_settled_line_is_written_with_it_or_not_at_all(desk: Desk) -> None:
    desk.shop.breaks = {"book": [Crash()]}
    await desk.crash()
    lines = await desk.lines()
    undoing = replace(lines[0], key="of_1.undo", undoes="of_1", status=PLANNED)
    await desk.store.settle(replace(lines[0], status=FAILED), (undoing,))  # that line is done: it stays so
    assert len(await desk.lines()) == 3
    await desk.store.settle(replace(lines[1], status=FAILED), (undoing, replace(lines[2], status=FAILED)))
    assert await desk.statuses() == [DONE, FAILED, FAILED, PLANNED]


async def test_personal_terms_of_every_step_can_be_erased_from_the_log(store: SqlStore) -> None:
    texts = {"en": "for Ada"}
    step = Step(Proposal("close", {"name": "Ada"}), None, texts, texts)
    offer = replace(OFFER, proposal=step.proposal, text=texts, done=texts, undone=texts, then=(step,))
    await store.append("ses_1", [SessionStarted("ses_1", "shop", "C-1", "en"), OfferMade("t", offer)], expected_seq=0)
    assert [each.event for each in await store.events("ses_1")][1] == OfferMade("t", offer)
    await store.erase("C-1")
    kept = [each.event for each in await store.events("ses_1")]
    assert "Ada" not in str(kept)


async def test_a_customer_whose_offer_is_not_at_its_end_is_not_erased_yet(desk: Desk) -> None:
    desk.shop.breaks = {"book": [ToolUnknown("lost")]}
    desk.shop.blind = True
    await desk.execute()
    with pytest.raises(TurnInProgress):
        await desk.store.erase("C-1")
