"""What an explanation shows and which change it names."""

from typing import Any

import pytest

from agents.domain.words import Clause
from agents.policy.explain import Explanation, conjuncts, explain
from tests.agents.policy_words import CAP, CONFIRM, NOW, ORDER, PERMIT, REFUND, engine, forbid, line, permit


def explained(*clauses: Clause, **given_: Any) -> Explanation:
    confirmed, spent = given_.pop("confirmed", False), given_.pop("spent", ())
    return explain(engine(*clauses, **given_), REFUND, scenario="late", facts=ORDER, confirmed=confirmed, spent=spent, now=NOW)


def test_an_explanation_shows_the_values_a_condition_read() -> None:
    shown = explained(permit("order.days <= param.window && order.id != 'order.cents'"), window=3).lines[0]
    assert dict(shown.values) == {"order.days": 5, "param.window": 3, "order.id": "KW-1"}
    assert (shown.holds, shown.decided) == (False, True)


def test_a_permit_says_which_of_its_parts_must_change() -> None:
    assert explained(permit("order.days < 3 && order.cents > 10", name="p")).changes == ("p: must hold: order.days < 3",)


def test_a_forbid_says_which_of_its_parts_must_not_hold() -> None:
    shown = explained(PERMIT, forbid("order.days == 5 || order.cents < 10", name="f"))
    assert shown.changes == ("f: must not hold: order.days == 5",)


def test_a_cap_says_what_is_left() -> None:
    assert explained(PERMIT, CAP, spent=[line(800)]).changes == ("c: 2.00 EUR left of 10.00 EUR; 5.00 EUR asked",)


def test_a_missing_fact_is_what_would_change_it() -> None:
    assert explained(permit("parcel.lost", name="p")).changes == ("p: needs parcel",)


def test_a_missing_yes_is_what_would_change_it() -> None:
    assert explained(PERMIT, CONFIRM).changes == ("y: must hold: confirmed",)


def test_what_is_allowed_needs_no_change() -> None:
    assert explained(PERMIT, permit("false", "q")).changes == ()


def test_no_permit_at_all_is_said_so() -> None:
    assert "no clause permits" in explained(CONFIRM).changes[0]


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("a && b", ("a", "b")),
        ("a && (b && c)", ("a", "(b && c)")),
        ("a && b || c", ("a && b || c",)),
        ("a == '&&' && b", ("a == '&&'", "b")),
        (r"a == '\'&&' && b", (r"a == '\'&&'", "b")),
        ("a ? b && c : d", ("a ? b && c : d",)),
        ("l.exists(i, i && x) && b", ("l.exists(i, i && x)", "b")),
    ],
)
def test_a_condition_comes_apart_only_at_its_top(source: str, parts: tuple[str, ...]) -> None:
    assert conjuncts(source) == parts


def test_a_yes_that_would_not_help_is_not_named() -> None:
    assert explained(PERMIT, CONFIRM, forbid()).changes == ("f: must not hold: true",)


def test_a_denial_only_the_yes_brings_is_explained_as_after_the_yes() -> None:
    assert explained(permit("!confirmed")).changes == ("p: must hold: !confirmed",)
