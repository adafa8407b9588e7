"""Whole turns with an offer of two writes, over the real shop, policy, ledger and SQLite: both, or neither, or a person."""

import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agents.domain.events import HandoffRaised, TurnFailed, TurnStarted
from agents.domain.words import Act, ActionStatus, Proposal, ToolSpec
from agents.packs.loader import load_pack, tools_module
from agents.ports import ToolCall
from agents.tools.backoffice import PackBackOffice
from agents.tools.registry import collect
from serving.embedded import EmbeddedDesk
from serving.replay import differences, recorded_turns
from serving.scripted import ScriptedModel, TableRetriever
from tests.fakes import SetClock

CANCEL, ABSAGE, YES, NO, HELLO = "cancel KW-1121 please", "取消订单KW-1122", "yes please", "no coupon", "hello"
TABLE = {
    CANCEL: ("cancel_order", Act.ASKS),
    ABSAGE: ("cancel_order", Act.ASKS),
    YES: ("cancel_order", Act.ACCEPTS),
    "好的": ("cancel_order", Act.ACCEPTS),
    NO: ("cancel_order", Act.REJECTS),
    HELLO: ("small_talk", Act.GREETS),
}
PACKED = "UPDATE orders SET status = 'packed' WHERE id = 'KW-1121'"
USED = "UPDATE coupons SET used = 1 WHERE order_id = 'KW-1121'"
DONE, FAILED, REFUSED = ActionStatus.DONE, ActionStatus.FAILED, ActionStatus.REFUSED
UNDONE, STUCK = ActionStatus.UNDONE, ActionStatus.STUCK


@dataclass
class Racing:
    """The shop's back office while others work in the shop: `before` maps a tool to what they change just before its call."""

    inner: PackBackOffice
    database: Path
    before: dict[str, str] = field(default_factory=dict)

    def specs(self) -> Sequence[ToolSpec]:
        return self.inner.specs()

    async def call(self, tool: str, args: Mapping[str, Any], call: ToolCall) -> Mapping[str, Any]:
        if tool in self.before:
            with sqlite3.connect(self.database) as shop:
                shop.execute(self.before.pop(tool))
        return await self.inner.call(tool, args, call)

    async def outcome(self, proposal: Proposal, call: ToolCall) -> Mapping[str, Any] | None:
        return await self.inner.outcome(proposal, call)


@dataclass
class Visit:
    desk: EmbeddedDesk
    office: Racing
    clock: SetClock

    async def say(self, text: str) -> str:
        self.reply = await self.desk.say("ses_1", text)
        return self.reply.text

    def statuses(self) -> list[ActionStatus]:
        return [record.status for record in self.reply.actions]

    def shop(self, order_id: str = "KW-1121") -> tuple[str, int, int]:
        """The order's state, its coupons, its refunds."""
        with sqlite3.connect(self.office.database) as shop:
            (state,) = shop.execute("SELECT status FROM orders WHERE id = ?", (order_id,)).fetchone()
            (coupons,) = shop.execute("SELECT count(*) FROM coupons WHERE order_id = ?", (order_id,)).fetchone()
            (refunds,) = shop.execute("SELECT count(*) FROM refunds WHERE order_id = ?", (order_id,)).fetchone()
        return state, coupons, refunds


Open = Callable[..., Awaitable[Visit]]


@asynccontextmanager
async def visiting(folder: Path, customer_id: str = "C-023", locale: str = "en") -> AsyncGenerator[Visit, None]:
    pack, clock = load_pack("shop"), SetClock()
    module = tools_module(pack.path)
    office = Racing(PackBackOffice(module, await module.open_back_office(folder)), folder / "shop.db")
    try:
        async with EmbeddedDesk.open(
            pack,
            model=ScriptedModel([]),
            data_dir=folder,
            retriever=TableRetriever(pack, TABLE),
            back_office=office,
            clock=clock,
        ) as desk:
            await desk.start_session(customer_id, session_id="ses_1", locale=locale)
            yield Visit(desk, office, clock)
    finally:
        await office.inner.close()


async def test_the_offer_tells_all_its_terms_and_one_yes_does_all_of_it(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visit:
        offered = await visit.say(CANCEL)
        assert "a coupon of 5.00 EUR" in offered
        assert "goes back to your original payment method: 79.90 EUR" in offered
        assert visit.shop() == ("paid", 0, 0)
        told = await visit.say(YES)
        assert visit.statuses() == [DONE, DONE]
        assert visit.shop() == ("cancelled", 1, 1)
        assert "of 5.00 EUR is ready" in told
        assert "is cancelled. Your refund: 79.90 EUR" in told
        await visit.say(YES)
        assert visit.shop() == ("cancelled", 1, 1)


async def test_it_is_told_and_done_in_chinese_too(tmp_path: Path) -> None:
    async with visiting(tmp_path, "C-038", "zh") as visit:
        assert "送您一张5.00 EUR的优惠券" in await visit.say(ABSAGE)
        told = await visit.say("好的")
        assert "优惠券" in told
        assert "已取消，退款金额：69.80 EUR" in told
        assert visit.shop("KW-1122") == ("cancelled", 1, 1)


async def test_a_no_to_both_leaves_the_cancellation_alone(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visit:
        await visit.say(CANCEL)
        assert "coupon" not in await visit.say(NO)
        await visit.say(YES)
        assert visit.shop() == ("cancelled", 0, 1)


async def test_when_the_second_write_is_refused_the_first_is_taken_back_and_the_customer_is_told(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visit:
        await visit.say(CANCEL)
        visit.office.before = {"cancel_order": PACKED}
        told = await visit.say(YES)
        assert visit.statuses() == [UNDONE, REFUSED, DONE]
        assert visit.shop() == ("packed", 0, 0)
        assert "taken everything back" in told
        assert "is withdrawn again" in told
        assert "is ready" not in told
        assert "is cancelled" not in told
        assert len((await visit.desk.state("ses_1")).handoffs) == 1


async def test_what_cannot_be_taken_back_goes_to_a_person_once_and_is_told_as_it_is(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visit:
        await visit.say(CANCEL)
        visit.office.before = {"cancel_order": PACKED, "withdraw_coupon": USED}
        told = await visit.say(YES)
        assert visit.statuses() == [DONE, REFUSED, STUCK]
        assert "of 5.00 EUR is ready" in told
        assert "a person looks into it" in told
        for _ in range(3):
            visit.clock.move(700)
            await visit.desk.rooms.recovery.sweep()
        reasons = [handoff.reason for handoff in (await visit.desk.state("ses_1")).handoffs]
        assert len(reasons) == 1
        assert "issue_coupon done, cancel_order refused, withdraw_coupon stuck" in reasons[0]


async def test_an_order_that_moved_on_before_the_yes_is_not_touched(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visit:
        await visit.say(CANCEL)
        with sqlite3.connect(visit.office.database) as shop:
            shop.execute(PACKED)
        assert "packed order can no longer be cancelled" in await visit.say(YES)
        assert visit.shop() == ("packed", 0, 0)


@pytest.mark.parametrize(
    ("before", "said", "left"),
    [
        ({}, ("is ready", "is cancelled"), ("cancelled", 1, 1)),
        ({"cancel_order": PACKED}, ("taken everything back", "is withdrawn"), ("packed", 0, 0)),
        ({"cancel_order": PACKED, "withdraw_coupon": USED}, ("is ready", "a person looks into it"), ("packed", 1, 0)),
    ],
)
async def test_a_session_whose_turn_died_is_told_what_became_of_every_step(
    tmp_path: Path, before: dict[str, str], said: tuple[str, ...], left: tuple[str, int, int]
) -> None:
    async with visiting(tmp_path) as visit:
        await visit.say(CANCEL)
        state, stored = await visit.desk.state("ses_1"), await visit.desk.events("ses_1")
        assert state.open_offer is not None
        await visit.desk.store.append("ses_1", [TurnStarted("turn_lost", YES, "en")], expected_seq=stored[-1].seq)
        visit.office.before = dict(before)
        await visit.desk.rooms.ledger.execute(state.open_offer, session_id="ses_1", customer_id="C-023")
        await visit.say(HELLO)
        events = [each.event for each in await visit.desk.events("ses_1")]
        failed = next(event for event in events if isinstance(event, TurnFailed))
        assert all(text in failed.message for text in said)
        assert visit.shop() == left
        assert sum(isinstance(event, HandoffRaised) for event in events) == int(bool(before))
        assert (await visit.desk.state("ses_1")).open_offer is None


@pytest.mark.parametrize("before", [{}, {"cancel_order": PACKED}, {"cancel_order": PACKED, "withdraw_coupon": USED}])
async def test_a_turn_of_several_writes_is_replayed_without_a_difference(tmp_path: Path, before: dict[str, str]) -> None:
    async with visiting(tmp_path) as visit:
        await visit.say(CANCEL)
        visit.office.before = dict(before)
        await visit.say(YES)
        pack, stored = visit.desk.pack, await visit.desk.events("ses_1")
        specs = [bound.spec for bound in collect(tools_module(pack.path))]
        assert len(list(recorded_turns("ses_1", stored))) == 2
        found = [each async for _, differing in differences(pack, specs, "ses_1", stored) for each in differing]
        assert found == []
