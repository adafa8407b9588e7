"""A bakery's till in memory: the smallest business a pack can describe."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agents.domain.errors import ToolRefused
from agents.ports import ToolCall
from agents.tools.registry import tool


@dataclass
class Till:
    """Receipts by idempotency key."""

    receipts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    closed: bool = False


@dataclass(frozen=True)
class Order:
    id: str
    late_minutes: int
    paid_cents: int


@dataclass(frozen=True)
class Refund:
    order_id: str
    amount_cents: int


async def open_back_office(data_dir: Path) -> Till:
    return Till()


async def lookup_receipt(till: Till, call: ToolCall) -> Mapping[str, Any] | None:
    return till.receipts.get(call.key or "")


async def close(till: Till) -> None:
    till.closed = True


@tool(kind="read", requires=["order_id"], provides="order")
async def get_order(till: Till, call: ToolCall, order_id: str) -> Order:
    """An order of today."""
    if order_id != "B-1001":
        raise ToolRefused("no such order")
    return Order(order_id, 60, 900)


@tool(kind="write")
async def refund(till: Till, call: ToolCall, order_id: str, amount_cents: int) -> Refund:
    """Give money back, once per key."""
    receipt = Refund(order_id, amount_cents)
    till.receipts.setdefault(call.key or "", asdict(receipt))
    return receipt
