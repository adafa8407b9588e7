"""The ledger over a store and a back office in memory: what fails, is lost, crashes or races, and what is true afterwards.

Long: its cases share one store and one back office.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Unpack

import pytest

from agents.domain.errors import BadInput, NotAllowed, ToolFailed, ToolRefused, ToolUnknown
from agents.domain.events import Event, StoredEvent
from agents.domain.money import Money
from agents.domain.words import ActionRecord, ActionStatus, Offer, Proposal, ToolSpec
from agents.ledger.ledger import Ledger
from agents.ports import AppendPlace, Lease, OpenPlace, Permits, ToolCall, TurnOpening
from tests.fakes import SetClock

DONE, FAILED, REFUSED = ActionStatus.DONE, ActionStatus.FAILED, ActionStatus.REFUSED
INTENDED, UNKNOWN = ActionStatus.INTENDED, ActionStatus.UNKNOWN
OFFER = Offer("of_1", "late", 0, Proposal("refund", {"amount_cents": 500}), Money(500, "EUR"), {}, {}, ())


@dataclass
class Crash(BaseException):
    """The process ends here: nothing of ours may catch it."""


@dataclass
class MemoryStore:
    """A Store of ledger lines; its sessions are never asked for. `statuses` is every status a line went through."""

    rows: dict[str, ActionRecord] = field(default_factory=dict)
    statuses: list[ActionStatus] = field(default_factory=list)
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def intend(
        self,
        record: ActionRecord,
        *,
        then: Sequence[ActionRecord] = (),
        permits: Permits | None = None,
        since: datetime | None = None,
    ) -> ActionRecord:
        stored = self.rows.get(record.key)
        if stored is not None and (stored.status is not FAILED or stored.customer_id != record.customer_id):
            return stored
        if permits is not None and not permits(await self.actions(record.customer_id, since=datetime.min)):
            record = replace(record, status=FAILED, result={"reason": "no longer permitted"})
        self.statuses.append(record.status)
        self.rows[record.key] = record
        return record

    async def begin(self, record: ActionRecord) -> bool:
        raise AssertionError("an offer of one write has no further step")

    async def lines(self, offer_id: str) -> tuple[ActionRecord, ...]:
        raise AssertionError("an offer of one write has no further line")

    async def settle(self, record: ActionRecord, then: Sequence[ActionRecord] = ()) -> None:
        self.statuses.append(record.status)
        self.rows[record.key] = replace(self.rows[record.key], status=record.status, result=record.result)
        self.settled.set()

    async def actions(self, customer_id: str, *, since: datetime) -> tuple[ActionRecord, ...]:
        counted = (INTENDED, DONE, UNKNOWN)
        return tuple(r for r in self.rows.values() if r.customer_id == customer_id and r.status in counted)

    async def unsettled(self) -> tuple[ActionRecord, ...]:
        return tuple(record for record in self.rows.values() if record.status in (INTENDED, UNKNOWN))

    async def append(self, session_id: str, events: Sequence[Event], **place: Unpack[AppendPlace]) -> tuple[StoredEvent, ...]:
        raise AssertionError("the ledger writes no events")

    async def open_turn(self, session_id: str, events: Sequence[Event], **place: Unpack[OpenPlace]) -> TurnOpening:
        raise AssertionError("the ledger opens no turns")

    async def events(self, session_id: str, *, after_seq: int = 0) -> tuple[StoredEvent, ...]:
        raise AssertionError("the ledger reads no events")

    async def acquire_lease(self, session_id: str, holder: str, *, ttl_s: float) -> bool:
        raise AssertionError("the ledger takes no lease")

    async def release_lease(self, session_id: str, holder: str) -> None:
        raise AssertionError("the ledger takes no lease")

    async def renew_leases(self, held: Sequence[tuple[str, str]], *, ttl_s: float) -> frozenset[tuple[str, str]]:
        raise AssertionError("the ledger takes no lease")

    async def expired_leases(self) -> tuple[Lease, ...]:
        raise AssertionError("the ledger takes no lease")

    async def turn_by_key(self, session_id: str, idempotency_key: str) -> str | None:
        raise AssertionError("the ledger knows no turns")


@dataclass
class Till:
    """A BackOffice that gives money once a key. `answers` are what the next calls raise, before or after doing it;
    `looks` what the next look-ups raise (None: look). `lands_after_looks` hides a receipt from the first looks."""

    receipts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    before: list[BaseException] = field(default_factory=list)
    after: list[BaseException] = field(default_factory=list)
    looks: list[BaseException | None] = field(default_factory=list)
    lands_after_looks: int = 0
    calls: int = 0
    called: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event | None = None
    idempotent: bool = True

    def specs(self) -> Sequence[ToolSpec]:
        return (ToolSpec("refund", "write", "", (), None, {}, 5.0, self.idempotent),)

    async def call(self, tool: str, args: Mapping[str, Any], call: ToolCall) -> Mapping[str, Any]:
        self.calls += 1
        self.called.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.before:
            raise self.before.pop(0)
        self.receipts.setdefault(call.key or "", {"paid": args["amount_cents"]})
        if self.after:
            raise self.after.pop(0)
        return self.receipts[call.key or ""]

    async def outcome(self, proposal: Proposal, call: ToolCall) -> Mapping[str, Any] | None:
        raised = self.looks.pop(0) if self.looks else None
        if raised is not None:
            raise raised
        if self.lands_after_looks > 0:
            self.lands_after_looks -= 1
            return None
        return self.receipts.get(call.key or "")


@dataclass
class Desk:
    """A ledger with everything it stands on; `pauses` are the seconds it waited."""

    store: MemoryStore = field(default_factory=MemoryStore)
    till: Till = field(default_factory=Till)
    clock: SetClock = field(default_factory=lambda: SetClock(datetime(2026, 11, 23, 12, 0, tzinfo=UTC)))
    pauses: list[float] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        """A new one each time, as after a restart."""

        async def pause(seconds: float) -> None:
            self.pauses.append(seconds)
            self.clock.move(seconds)

        return Ledger(self.store, self.till, self.clock, pause=pause)

    async def execute(self, offer: Offer = OFFER, **more: Any) -> ActionRecord:
        return (await self.ledger.execute(offer, session_id="s", customer_id="C-1", **more))[0]


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_confirmed_offer_is_carried_out_and_its_receipt_kept(desk: Desk) -> None:
    record = await desk.execute()
    assert (record.status, record.result, record.amount_cents, record.key) == (DONE, {"paid": 500}, 500, "of_1")
    assert desk.store.rows["of_1"] == record


async def test_the_intent_is_durable_before_the_tool_is_called(desk: Desk) -> None:
    desk.till.before = [Crash()]
    with pytest.raises(Crash):
        await desk.execute()
    assert desk.store.statuses == [INTENDED]


async def test_the_same_yes_twice_is_one_act(desk: Desk) -> None:
    first, second = await desk.execute(), await desk.execute()
    assert first == second
    assert desk.till.calls == 1


async def test_a_refusal_is_final(desk: Desk) -> None:
    desk.till.before = [ToolRefused("closed")]
    assert (await desk.execute()).status is REFUSED
    assert (await desk.execute()).result == {"reason": "closed"}
    assert desk.till.calls == 1


@pytest.mark.parametrize("error", [ToolFailed("down"), BadInput("no such order", field="order_id")])
async def test_what_certainly_failed_may_be_tried_again(desk: Desk, error: Exception) -> None:
    desk.till.before = [error]
    assert (await desk.execute()).status is FAILED
    assert (await desk.execute()).status is DONE
    assert desk.till.calls == 2


async def test_a_second_attempt_is_durable_before_its_call(desk: Desk) -> None:
    desk.till.before = [ToolFailed("down"), Crash()]
    await desk.execute()
    with pytest.raises(Crash):
        await desk.execute()
    assert desk.store.rows["of_1"].status is INTENDED


async def test_a_lost_answer_is_found_by_key(desk: Desk) -> None:
    desk.till.after = [ToolUnknown("timed out")]
    record = await desk.execute()
    assert (record.status, record.result, desk.till.calls) == (DONE, {"paid": 500}, 1)


async def test_a_write_that_lands_after_its_timeout_is_still_found(desk: Desk) -> None:
    desk.till.after, desk.till.lands_after_looks = [ToolUnknown("timed out")], 2
    assert (await desk.execute()).status is DONE
    assert desk.pauses == [0.2, 0.8]


async def test_a_lost_call_that_never_landed_is_made_again_under_its_key(desk: Desk) -> None:
    desk.till.before = [ToolUnknown("timed out")]
    assert (await desk.execute()).status is DONE
    assert (desk.till.calls, list(desk.till.receipts)) == (2, ["of_1"])


async def test_a_call_that_is_lost_every_time_is_unknown_after_bounded_calls(desk: Desk) -> None:
    desk.till.before = [ToolUnknown("timed out")] * 5
    assert (await desk.execute()).status is UNKNOWN
    assert desk.till.calls == 3


async def test_a_tool_that_is_not_idempotent_is_never_called_twice(desk: Desk) -> None:
    desk.till.before, desk.till.idempotent = [ToolUnknown("timed out")], False
    assert (await desk.execute()).status is UNKNOWN
    assert (await desk.execute()).status is UNKNOWN
    assert desk.till.calls == 1


async def test_a_failure_proves_nothing_while_an_earlier_call_may_land(desk: Desk) -> None:
    desk.till.before, desk.till.lands_after_looks = [ToolUnknown("timed out"), ToolFailed("busy")], 3
    desk.till.receipts["of_1"] = {"paid": 500}
    assert (await desk.execute()).status is DONE


async def test_an_outcome_nobody_can_tell_is_unknown_after_bounded_looks(desk: Desk) -> None:
    desk.till.after, desk.till.looks = [ToolUnknown("timed out")], [ToolUnknown("down")] * 3
    record = await desk.execute()
    assert (record.status, record.result["reason"], record.result["tries"]) == (UNKNOWN, "its answers were lost", 1)
    assert desk.till.calls == 1


async def test_an_unknown_line_is_looked_up_before_it_is_tried_again(desk: Desk) -> None:
    desk.till.after, desk.till.looks = [ToolUnknown("timed out")], [ToolUnknown("down")] * 3
    await desk.execute()
    assert (await desk.execute()).status is DONE
    assert desk.till.calls == 1


async def test_an_unknown_line_that_stays_unknown_is_not_tried_again(desk: Desk) -> None:
    desk.till.after, desk.till.looks = [ToolUnknown("timed out")], [ToolUnknown("down")] * 6
    await desk.execute()
    assert (await desk.execute()).status is UNKNOWN
    assert desk.till.calls == 1


async def test_a_yes_is_carried_out_after_a_crash_before_the_call(desk: Desk) -> None:
    desk.till.before = [Crash()]
    with pytest.raises(Crash):
        await desk.execute()
    desk.clock.move(60)
    assert [record.status for record in await desk.ledger.recover()] == [DONE]
    assert (await desk.execute()).status is DONE
    assert desk.till.calls == 2


async def test_a_yes_of_long_ago_that_was_not_carried_out_failed_and_can_be_given_again(desk: Desk) -> None:
    desk.till.before = [Crash()]
    with pytest.raises(Crash):
        await desk.execute()
    desk.clock.move(3600)
    assert [record.status for record in await desk.ledger.recover()] == [FAILED]
    assert (await desk.execute()).status is DONE


async def test_a_crash_after_the_call_is_recovered_as_done(desk: Desk) -> None:
    desk.till.after = [Crash()]
    with pytest.raises(Crash):
        await desk.execute()
    desk.clock.move(60)
    assert [(record.status, record.result) for record in await desk.ledger.recover()] == [(DONE, {"paid": 500})]
    assert await desk.store.unsettled() == ()
    assert (await desk.execute()).status is DONE
    assert desk.till.calls == 1


async def test_a_yes_after_a_crash_finds_out_before_it_acts_even_in_the_same_instant(desk: Desk) -> None:
    desk.till.after = [Crash()]
    with pytest.raises(Crash):
        await desk.execute()
    assert (await desk.execute()).status is DONE
    assert desk.till.calls == 1


async def test_recovery_of_an_unreachable_system_leaves_the_line_open(desk: Desk) -> None:
    desk.till.after, desk.till.looks = [Crash()], [ToolUnknown("down")] * 3
    with pytest.raises(Crash):
        await desk.execute()
    desk.clock.move(60)
    assert [record.status for record in await desk.ledger.recover()] == [UNKNOWN]
    assert [record.status for record in await desk.ledger.recover()] == [DONE]


async def test_recovery_gives_an_attempt_elsewhere_the_time_to_end(desk: Desk) -> None:
    """A second replica starts while the first one's call is in flight: it must not write that nothing happened."""
    desk.till.gate = asyncio.Event()
    other = asyncio.create_task(desk.execute())
    await desk.till.called.wait()

    async def pause(seconds: float) -> None:  # meanwhile the first replica ends its attempt
        assert desk.till.gate is not None
        desk.till.gate.set()
        await other
        desk.clock.move(seconds)

    assert await Ledger(desk.store, desk.till, desk.clock, pause=pause).recover() == ()
    assert desk.store.rows["of_1"].status is DONE
    assert FAILED not in desk.store.statuses


async def test_recovery_waits_no_longer_than_a_tool_may_take(desk: Desk) -> None:
    desk.till.before = [Crash()]
    with pytest.raises(Crash):
        await desk.execute()
    assert [record.status for record in await desk.ledger.recover()] == [DONE]
    assert 5.0 < sum(desk.pauses) < 7.0


async def test_recovery_with_nothing_open_waits_for_nothing(desk: Desk) -> None:
    await desk.execute()
    assert await desk.ledger.recover() == ()
    assert desk.pauses == []


async def test_two_sessions_that_spend_one_cap_at_once_never_exceed_it(desk: Desk) -> None:
    def permits(spent: Sequence[ActionRecord]) -> bool:
        return sum(record.amount_cents or 0 for record in spent) + 500 <= 500

    offers = [replace(OFFER, id=f"of_{number}") for number in range(6)]
    ledger = desk.ledger
    records = await asyncio.gather(
        *(ledger.execute(offer, session_id=offer.id, customer_id="C-1", permits=permits) for offer in offers)
    )
    assert sum(record.status is DONE for (record,) in records) == 1
    assert len(desk.till.receipts) == 1
    assert {record.status for (record,) in records} <= {DONE, FAILED}


async def test_what_is_no_longer_permitted_is_not_called(desk: Desk) -> None:
    record = await desk.execute(permits=lambda spent: False)
    assert (record.status, record.result, desk.till.calls) == (FAILED, {"reason": "no longer permitted"}, 0)


async def test_its_own_line_does_not_count_against_it(desk: Desk) -> None:
    assert (await desk.execute(permits=lambda spent: not spent)).status is DONE


async def test_a_cancelled_turn_does_not_cut_the_action(desk: Desk) -> None:
    desk.till.gate = asyncio.Event()
    ledger = desk.ledger
    turn = asyncio.create_task(ledger.execute(OFFER, session_id="s", customer_id="C-1"))
    await desk.till.called.wait()
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    desk.till.gate.set()
    await desk.store.settled.wait()
    assert desk.store.rows["of_1"].status is DONE


async def test_another_customers_key_is_refused(desk: Desk) -> None:
    await desk.execute()
    with pytest.raises(NotAllowed):
        await desk.ledger.execute(OFFER, session_id="s", customer_id="C-2")


async def test_a_line_counts_from_the_attempt_that_did_it(desk: Desk) -> None:
    desk.till.before = [ToolFailed("down")]
    await desk.execute()
    desk.clock.move(timedelta(days=1).total_seconds())
    assert (await desk.execute()).at == desk.clock.now()
