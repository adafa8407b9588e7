"""What a tool answers is believed only when it can be the answer."""

from typing import Any

import pytest

from agents.domain.words import ToolSpec
from agents.packs.loader import load_pack, tools_module
from agents.tools.gather import ill_formed, untrue
from agents.tools.registry import collect

ARGS = {"order_id": "KW-1042"}


def spec(name: str) -> ToolSpec:
    return next(bound.spec for bound in collect(tools_module(load_pack("shop").path)) if bound.spec.name == name)


def payment(**more: Any) -> dict[str, Any]:
    return {
        "order_id": "KW-1042",
        "method": "card",
        "paid_cents": 2490,
        "refunded_cents": 0,
        "refundable_cents": 2490,
    } | more


def test_an_answer_of_the_tools_schema_is_believed() -> None:
    assert untrue(spec("get_payment"), ARGS, payment()) is None


@pytest.mark.parametrize(
    "answer",
    [
        payment(paid_cents="2490"),
        payment(paid_cents=True),
        payment(paid_cents=2.5),
        {"order_id": "KW-1042"},
        payment(method=None),
    ],
)
def test_an_answer_of_other_types_or_with_holes_is_not(answer: dict[str, Any]) -> None:
    assert "answered with no payment" in (untrue(spec("get_payment"), ARGS, answer) or "")


def test_an_answer_about_another_order_is_not() -> None:
    assert untrue(spec("get_payment"), ARGS, payment(order_id="KW-9999")) == "answered about another order_id"


def test_what_is_wrong_is_named_by_its_place() -> None:
    wrong = untrue(spec("get_payment"), ARGS, payment(paid_cents="2490"))
    assert wrong == "answered with no payment: $.paid_cents"


def test_what_is_no_json_is_no_answer_and_no_argument() -> None:
    assert untrue(spec("get_payment"), ARGS, payment(method=b"card")) == "answered with no payment: it is no JSON"
    assert ill_formed(spec("get_payment"), {"order_id": b"KW-1042"}) == ("order_id",)


def test_arguments_that_are_unknown_missing_or_of_another_type_are_named() -> None:
    assert ill_formed(spec("get_payment"), ARGS) == ()
    assert ill_formed(spec("get_payment"), {"order_id": 7, "more": 1}) == ("more", "order_id")
    assert ill_formed(spec("get_payment"), {}) == ("order_id",)
