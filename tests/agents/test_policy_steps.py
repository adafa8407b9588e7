"""Verdicts on offers of several writes: every step is judged, and caps count the steps before it."""

from datetime import UTC, datetime

from agents.domain.words import ActionRecord, ActionStatus, Facts, Proposal, Ruling, offer_id
from agents.packs.loader import load_pack
from agents.policy.engine import PolicyEngine
from agents.policy.steps import judge_steps

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ENGINE = PolicyEngine(load_pack("shop"))
FACTS: Facts = {
    "customer": {"id": "C-1", "verified": True, "member_days": 400, "delivered_orders": 30, "late_days": 0}
    | {"late_order_id": "", "late_order_has_coupon": False},
    "coupons": {"active": 0, "week_cents": 0},
}
ALLOW, DENY = Ruling.ALLOW, Ruling.DENY


def coupon(cents: int) -> Proposal:
    return Proposal("issue_coupon", {"amount_cents": cents, "reason": "loyalty", "order_id": ""})


def rulings(*proposals: Proposal, spent: tuple[ActionRecord, ...] = (), confirmed: bool = True) -> list[Ruling]:
    verdicts = judge_steps(ENGINE, proposals, scenario="coupon_request", facts=FACTS, confirmed=confirmed, spent=spent, now=NOW)
    return [verdict.ruling for verdict in verdicts]


def line(status: ActionStatus, undoes: str = "") -> ActionRecord:
    return ActionRecord("of_0", "s", "C-1", coupon(500), 500, status, {}, NOW, undoes=undoes)


def test_a_cap_counts_the_earlier_steps_of_the_same_offer() -> None:
    assert rulings(coupon(500), coupon(500)) == [ALLOW, ALLOW]
    assert rulings(coupon(500), coupon(500), coupon(500)) == [ALLOW, ALLOW, DENY]
    assert rulings(coupon(500), coupon(500), spent=(line(ActionStatus.DONE),)) == [ALLOW, DENY]


def test_a_planned_line_counts_and_an_undone_one_and_an_undoing_do_not() -> None:
    assert rulings(coupon(1000), spent=(line(ActionStatus.PLANNED),)) == [DENY]
    assert rulings(coupon(1000), spent=(line(ActionStatus.UNDONE), line(ActionStatus.DONE, undoes="of_0"))) == [ALLOW]
    assert rulings(coupon(1000), spent=(line(ActionStatus.STUCK, undoes="of_0"),)) == [ALLOW]


def test_every_step_needs_its_own_permit_and_the_same_yes() -> None:
    assert rulings(coupon(500), Proposal("withdraw_coupon", {"code": "CP-1"})) == [ALLOW, DENY]
    assert rulings(coupon(500), coupon(500), confirmed=False) == [Ruling.NEEDS_CONFIRMATION] * 2


def test_an_offers_id_names_every_step_and_an_offer_of_one_write_keeps_its_own() -> None:
    one, two = coupon(500), coupon(1000)
    assert offer_id("s", one) == "of_08feb6141bc4cf79b40f"
    assert len({offer_id("s", *steps) for steps in ((one,), (two,), (one, two), (two, one), (one, two, two))}) == 5
