"""The policy engine over a table of cases, its terms and its expressions."""

from datetime import UTC, datetime
from typing import Any

import pytest

from agents.domain.words import ActionStatus, Clause, Proposal, Ruling, Rung
from agents.policy.conditions import ConditionInvalid, Expression, Scope, Unknown
from tests.agents.policy_words import CAP, CONFIRM, ORDER, PERMIT, cap, engine, forbid, judge, line, permit, require

ALLOW, DENY, ASK, FACT = Ruling.ALLOW, Ruling.DENY, Ruling.NEEDS_CONFIRMATION, Ruling.NEEDS_FACT

CASES: list[tuple[str, list[Clause], dict[str, Any], Ruling, str]] = [
    ("no clause at all denies", [], {}, DENY, ""),
    ("a permit that holds allows", [PERMIT], {}, ALLOW, "p"),
    ("a permit that does not hold denies", [permit("order.days > 9")], {}, DENY, "p"),
    ("one of two permits is enough", [permit("false", "q"), PERMIT], {}, ALLOW, "p"),
    ("forbid beats permit", [PERMIT, forbid("order.days == 5")], {}, DENY, "f"),
    ("a forbid that does not hold is silent", [PERMIT, forbid("order.days == 6")], {}, ALLOW, "p"),
    ("a false requirement denies", [PERMIT, require("order.days < 5")], {}, DENY, "r"),
    ("a true requirement is silent", [PERMIT, require("order.days < 6")], {}, ALLOW, "p"),
    ("another scenario's permit does not count", [permit(scenario="other")], {}, DENY, ""),
    ("another action's permit does not count", [permit(action="coupon")], {}, DENY, ""),
    ("a starred clause counts everywhere", [permit(scenario="*", action="*")], {}, ALLOW, "p"),
    ("an unconfirmed yes is asked for", [PERMIT, CONFIRM], {}, ASK, "p y"),
    ("a confirmed yes allows", [PERMIT, CONFIRM], {"confirmed": True}, ALLOW, "p"),
    ("no yes is asked for what is denied", [PERMIT, CONFIRM, forbid()], {}, DENY, "f"),
    ("no yes is asked for without a permit", [CONFIRM], {}, DENY, ""),
    (
        "a requirement beside the yes still denies",
        [PERMIT, require("confirmed && order.days < 5")],
        {},
        DENY,
        "r",
    ),
    (
        "and denies after the yes, too",
        [PERMIT, require("confirmed && order.days < 5")],
        {"confirmed": True},
        DENY,
        "r",
    ),
    ("a permit may ask for the yes itself", [permit("confirmed")], {}, ASK, "p"),
    ("a permit over a fact not read needs it", [permit("parcel.lost")], {}, FACT, "p"),
    ("a forbid over a fact not read needs it", [PERMIT, forbid("parcel.lost")], {}, FACT, "f"),
    ("an unread permit beside one that holds does not matter", [PERMIT, permit("parcel.lost", "q")], {}, ALLOW, "p"),
    ("no fact is asked for when no permit can hold", [permit("false"), forbid("parcel.lost")], {}, DENY, "p"),
    ("a true forbid denies whatever is missing", [permit("parcel.lost"), forbid()], {}, DENY, "f"),
    ("false and unknown is false", [permit("parcel.lost && order.days > 9")], {}, DENY, "p"),
    ("true or unknown is true", [permit("parcel.lost || order.days == 5")], {}, ALLOW, "p"),
    ("a field that is not there is unknown", [permit("order.colour == 'red'")], {}, FACT, "p"),
    ("a null compared is unknown", [permit("order.gone < 3")], {}, FACT, "p"),
    ("a number is no yes", [permit("order.days")], {}, FACT, "p"),
    ("a parameter decides", [permit("order.days <= param.window")], {"window": 5}, ALLOW, "p"),
    ("a cap with room is silent", [PERMIT, CAP], {"spent": [line(500)]}, ALLOW, "p"),
    ("a cap counts this proposal", [PERMIT, CAP], {"spent": [line(501)]}, DENY, "c"),
    ("a cap counts intended lines", [PERMIT, CAP], {"spent": [line(501, status=ActionStatus.INTENDED)]}, DENY, "c"),
    ("a cap counts unknown lines", [PERMIT, CAP], {"spent": [line(501, status=ActionStatus.UNKNOWN)]}, DENY, "c"),
    ("a cap leaves failed lines out", [PERMIT, CAP], {"spent": [line(501, status=ActionStatus.FAILED)]}, ALLOW, "p"),
    ("a cap leaves refused lines out", [PERMIT, CAP], {"spent": [line(501, status=ActionStatus.REFUSED)]}, ALLOW, "p"),
    ("a cap leaves other actions out", [PERMIT, CAP], {"spent": [line(501, action="coupon")]}, ALLOW, "p"),
    ("a cap's window rolls", [PERMIT, CAP], {"spent": [line(501, days_ago=30)]}, ALLOW, "p"),
    ("a cap's window is full to its edge", [PERMIT, CAP], {"spent": [line(501, days_ago=29.99)]}, DENY, "c"),
    ("a count cap", [PERMIT, cap(count="1", window_days="30")], {"spent": [line(1)]}, DENY, "c"),
    (
        "a cap without window looks at this proposal alone",
        [PERMIT, cap(amount_cents="500")],
        {"spent": [line(9999)]},
        ALLOW,
        "p",
    ),
    ("a cap whose condition is false is silent", [PERMIT, cap("order.days > 9", amount_cents="1")], {}, ALLOW, "p"),
    ("a cap of an unread fact needs it", [PERMIT, cap(amount_cents="parcel.cents")], {}, FACT, "c"),
    (
        "an unread condition does not matter while the cap has room",
        [PERMIT, cap("parcel.lost", amount_cents="500")],
        {},
        ALLOW,
        "p",
    ),
    ("a broken limit denies though another is unread", [PERMIT, cap(amount_cents="parcel.cents", count="0")], {}, DENY, "c"),
    ("a negative amount breaks every cap", [PERMIT, CAP], {"proposal": Proposal("refund", {"amount_cents": -1})}, DENY, "c"),
    (
        "an amount that is no number breaks every cap",
        [PERMIT, CAP],
        {"proposal": Proposal("refund", {"amount_cents": "1"})},
        DENY,
        "c",
    ),
    (
        "an endless window counts everything",
        [PERMIT, cap(amount_cents="1000", window_days="999999999999")],
        {"spent": [line(501, days_ago=900)]},
        DENY,
        "c",
    ),
]


@pytest.mark.parametrize(("clauses", "given_", "ruling", "ids"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_verdicts(clauses: list[Clause], given_: dict[str, Any], ruling: Ruling, ids: str) -> None:
    verdict = judge(*clauses, **given_)
    assert (verdict.ruling, verdict.clause_ids) == (ruling, tuple(ids.split()))


def test_the_missing_facts_are_named_once_and_sorted() -> None:
    verdict = judge(permit("parcel.lost && depot.open"), forbid("depot.closed"))
    assert verdict.missing == ("depot", "parcel")


def test_the_answer_does_not_depend_on_the_order_of_the_clauses() -> None:
    clauses = [PERMIT, CONFIRM, permit("parcel.lost", "q"), CAP, forbid("order.days > 9")]
    assert {judge(*order).ruling for order in (clauses, clauses[::-1])} == {ASK}


@pytest.mark.parametrize("value", [{1, 2}, object(), "\ud800", 10**400, float("nan"), {(1, 2): 3}, b"\xff", [[[[]]]], None])
def test_a_hostile_argument_neither_raises_nor_allows(value: Any) -> None:
    verdict = judge(permit("args.amount_cents <= 500"), proposal=Proposal("refund", {"amount_cents": value}))
    assert verdict.ruling is not ALLOW


def test_a_hostile_argument_does_not_blind_a_forbid_over_facts() -> None:
    hostile = Proposal("refund", {"amount_cents": object()})
    assert judge(PERMIT, forbid("order.days == 5"), proposal=hostile).ruling is DENY


@pytest.mark.parametrize(
    "when", ["1 / 0 == 1", "order.days + 'x' == 'y'", "order.nothing(1)", "[1][7] == 1", "order.id.matches('[')"]
)
def test_a_condition_that_errors_is_unknown_and_never_allows(when: str) -> None:
    assert judge(permit(when)).ruling is FACT
    assert judge(PERMIT, forbid(when)).ruling is FACT
    assert judge(PERMIT, require(when)).ruling is FACT


def test_terms_divide_cents_as_integers() -> None:
    rung = Rung("refund", {"order_id": "order.id", "amount_cents": "order.cents * 30 / 100"}, {}, {})
    assert engine().terms(rung, facts=ORDER) == Proposal("refund", {"order_id": "KW-1", "amount_cents": 599})


def test_terms_without_their_facts_name_them() -> None:
    rung = Rung("refund", {"order_id": "order.id", "amount_cents": "payment.cents"}, {}, {})
    assert engine().terms(rung, facts={}) == ("order", "payment")


def test_an_expression_that_does_not_parse_is_refused_when_compiled() -> None:
    with pytest.raises(ConditionInvalid):
        Expression("order.days >")


def test_names_are_roots_without_what_a_macro_binds() -> None:
    assert Expression("order.list.exists(i, i > param.x) && 'a.map(j, j)' != order.id").names == ("order", "param")


def test_an_integer_is_whole_and_a_fraction_or_boolean_is_not() -> None:
    scope = Scope(ORDER)
    assert Expression("order.days").whole(scope) == 5
    assert Expression("order.days / 2").whole(scope) == 2
    assert isinstance(Expression("1.5").whole(scope), Unknown)
    assert isinstance(Expression("true").whole(scope), Unknown)


def test_now_is_a_timestamp_in_the_packs_time_zone() -> None:
    facts = {"order": {"days": 5, "cents": 1000, "at": "2026-05-30T12:00:00Z"}}
    recent = [permit('now - timestamp(order.at) <= duration("72h")'), forbid("now.getHours() < 8")]
    for hour, ruling in ((12, ALLOW), (5, DENY)):  # the pack lives in UTC
        at = datetime(2026, 6, 1, hour, tzinfo=UTC)
        verdict = engine(*recent).judge(Proposal("refund", {}), scenario="late", facts=facts, confirmed=True, spent=(), now=at)
        assert verdict.ruling is ruling
