"""What can hold together, and what cannot; what cannot be told is never called impossible."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.packs.satisfiable import Satisfiable
from agents.policy.conditions import Expression

INTEGER, TEXT = {"type": "integer"}, {"type": "string"}
FIELDS: dict[str, dict[str, dict[str, Any]]] = {
    "order": {
        "days": INTEGER,
        "cents": INTEGER,
        "state": {"enum": ["sent", "here"]},
        "kind": TEXT,
        "open": {"type": "boolean"},
    },
    "args": {"cents": INTEGER},
}
SPACE = Satisfiable(FIELDS, {"days": 14, "kinds": ["food", "toys"]})


@pytest.mark.parametrize(
    ("source", "can"),
    [
        ("order.days > 3", True),
        ("order.days > 3 && order.days < 4", False),
        ("order.days >= param.days && order.days < 15", True),
        ("order.days > param.days && order.days < 15", False),
        ('order.state == "lost"', False),
        ('order.state == "sent" || order.state == "lost"', True),
        ('order.kind == "food" && order.kind == "toys"', False),
        ("order.kind in param.kinds && order.open", True),
        ("!order.open && order.open", False),
        ("order.cents < order.days && order.days < args.cents && args.cents < order.cents", False),
        ("order.cents < order.days && order.days < args.cents && args.cents < 2", True),
        ("order.cents * 1000 == 777777000", None),
        ("confirmed && !confirmed", False),
        ("unheard.of > 1", None),
    ],
)
def test_whether_a_condition_can_hold(source: str, can: bool | None) -> None:
    assert SPACE.together([Expression(source)]) is can


@given(st.integers(-50, 50), st.integers(-50, 50))
def test_two_bounds_meet_when_there_is_a_number_between(low: int, high: int) -> None:
    together = SPACE.together([Expression(f"order.days > {low}"), Expression(f"order.days < {high}")])
    assert together is (high - low > 1)


@given(st.integers(-50, 50), st.integers(-50, 50))
def test_what_follows_cannot_fail_alone(one: int, other: int) -> None:
    alone = SPACE.together([Expression(f"order.days > {one}")], [Expression(f"order.days > {other}")])
    assert alone is (one < other)
