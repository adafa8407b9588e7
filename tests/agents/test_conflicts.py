"""When facts read a moment ago can no longer be believed."""

from datetime import UTC, datetime

from agents.domain.words import ActionRecord, ActionStatus, Proposal
from agents.ledger.conflicts import disturbed

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINE = Proposal("refund_full", {"order_id": "KW-1", "amount_cents": 500})


def line(status: ActionStatus, order_id: str = "KW-1", action: str = "refund_partial") -> ActionRecord:
    return ActionRecord("of_other", "s", "C-1", Proposal(action, {"order_id": order_id}), None, status, {}, AT)


def test_an_open_action_on_the_same_order_disturbs_even_when_it_was_seen() -> None:
    for status in (ActionStatus.INTENDED, ActionStatus.UNKNOWN):
        assert disturbed(MINE, [line(status)], [line(status)], ["order_id"])


def test_an_action_that_ended_after_the_facts_were_read_disturbs() -> None:
    assert disturbed(MINE, [line(ActionStatus.INTENDED)], [line(ActionStatus.DONE)], ["order_id"])
    assert disturbed(MINE, [], [line(ActionStatus.DONE)], ["order_id"])


def test_an_action_that_had_ended_before_does_not() -> None:
    assert not disturbed(MINE, [line(ActionStatus.DONE)], [line(ActionStatus.DONE)], ["order_id"])


def test_an_action_on_another_order_does_not() -> None:
    assert not disturbed(MINE, [], [line(ActionStatus.DONE, "KW-2")], ["order_id"])


def test_two_empty_references_are_not_the_same_thing() -> None:
    coupon = Proposal("issue_coupon", {"order_id": "", "amount_cents": 500})
    assert not disturbed(coupon, [], [line(ActionStatus.INTENDED, "", "issue_coupon")], ["order_id"])
