"""Tools of a real MCP server, a process of its own, under the same rules as a pack's own."""

import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agents.domain.errors import BadInput, NotFound, ToolFailed, ToolRefused
from agents.domain.words import Proposal
from agents.ports import ToolCall
from agents.tools.backoffice import PackBackOffice
from agents.tools.mcp_server import McpServer
from agents.tools.registry import tool
from agents.tools.remote import RemoteBroke

SERVER = [sys.executable, str(Path(__file__).with_name("crm_server.py"))]


@dataclass(frozen=True)
class Order:
    id: str
    late_days: int


@dataclass(frozen=True)
class Refund:
    order_id: str
    amount_cents: int


@dataclass(frozen=True)
class Found:
    found: list[Refund]


@tool(kind="read", requires=["order_id"], provides="order")
async def get_order(crm: McpServer, call: ToolCall, order_id: str) -> Order:
    """One of the customer's orders."""
    return await crm.call("find_order", Order, order_id=order_id, customer_id=call.customer_id)


@tool(kind="write")
async def refund(crm: McpServer, call: ToolCall, order_id: str, amount_cents: int) -> Refund:
    """Give money back."""
    return await crm.call("refund_order", Refund, order_id=order_id, amount_cents=amount_cents, key=call.key)


async def lookup_receipt(crm: McpServer, call: ToolCall) -> Refund | None:
    return next(iter((await crm.call("refund_of", Found, key=call.key)).found), None)


def pack_module() -> ModuleType:
    module = ModuleType("remote_pack")
    vars(module).update(get_order=get_order, refund=refund, lookup_receipt=lookup_receipt, close=lambda crm: crm.close())
    return module


@pytest.fixture
async def crm() -> AsyncGenerator[McpServer, None]:
    server = await McpServer.open(SERVER, needs=["find_order", "refund_order"], refuses=lambda said: "refused:" in said)
    yield server
    await server.close()


def by(customer_id: str, key: str | None = None) -> ToolCall:
    return ToolCall(customer_id, datetime.now(UTC), key)


async def test_a_read_gives_only_the_facts_fields(crm: McpServer) -> None:
    office = PackBackOffice(pack_module(), crm)
    assert await office.call("get_order", {"order_id": "A-1"}, by("C-1")) == {"id": "A-1", "late_days": 4}


async def test_a_write_is_done_once_per_key_and_found_again(crm: McpServer) -> None:
    office, args = PackBackOffice(pack_module(), crm), {"order_id": "A-1", "amount_cents": 490}
    assert await office.outcome(Proposal("refund", args), by("C-1", "k1")) is None
    first = await office.call("refund", args, by("C-1", "k1"))
    again = await office.call("refund", {**args, "amount_cents": 9}, by("C-1", "k1"))
    assert first == again == await office.outcome(Proposal("refund", args), by("C-1", "k1"))


@pytest.mark.parametrize(
    ("order_id", "customer", "error"),
    [("A-1", "C-2", ToolRefused), ("A-13", "C-1", ToolFailed), ("A-66", "C-1", ToolFailed)],
)
async def test_an_error_and_a_lie_are_told_apart_from_a_refusal(
    crm: McpServer, order_id: str, customer: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await PackBackOffice(pack_module(), crm).call("get_order", {"order_id": order_id}, by(customer))


@pytest.mark.parametrize("args", [{"order_id": 7, "customer_id": "C-1"}, {"order_id": "A-1"}])
async def test_arguments_the_server_would_not_take_are_not_sent(crm: McpServer, args: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="find_order"):
        await crm.call("find_order", Order, **args)


async def test_a_server_that_lacks_a_tool_or_is_not_there_is_told_when_it_opens() -> None:
    with pytest.raises(NotFound, match="drop_tables"):
        await McpServer.open(SERVER, needs=["drop_tables"])
    with pytest.raises(RemoteBroke, match="cannot be reached"):
        await McpServer.open([sys.executable, "-c", "raise SystemExit(1)"], connect_s=20.0)


async def test_a_server_that_dies_is_a_failed_read_and_an_unknown_write(crm: McpServer) -> None:
    await crm.close()
    with pytest.raises(ToolFailed):
        await PackBackOffice(pack_module(), crm).call("get_order", {"order_id": "A-1"}, by("C-1"))
