"""What a tool answers is believed only when it can be the answer."""

from typing import Any

import pytest

from agents.domain.words import ToolSpec
from agents.packs.loader import load_pack, tools_module
from agents.tools.gather import untrue
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
