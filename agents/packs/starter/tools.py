"""What the desk may read and do here. Types become the schemas; the first docstring line is what a model reads of a tool.

A write keeps its receipt under the call's key in the same transaction: called again under that key it does nothing.
"""

import asyncio
import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import aiosqlite

from agents.domain.errors import ToolRefused
from agents.ports import ToolCall
from agents.tools.registry import tool

DEV_CUSTOMERS = ("C-1", "C-2", "C-3")
SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, customer_id TEXT, state TEXT, late_days INTEGER, shipping_cents INTEGER
);
CREATE TABLE IF NOT EXISTS refunds (key TEXT PRIMARY KEY, order_id TEXT NOT NULL, amount_cents INTEGER NOT NULL, receipt TEXT);
"""


@dataclass(frozen=True)
class Order:
    id: str
    state: Literal["on_the_way", "delivered"]
    late_days: int
    shipping_cents: int
    refunded_cents: int


@dataclass(frozen=True)
class Refund:
    order_id: str
    amount_cents: int


async def open_back_office(data_dir: Path) -> aiosqlite.Connection:
    """The business's own system: here a small database, filled from data/orders.csv when it is new."""
    rows = await asyncio.to_thread(_seeds, data_dir)
    database = await aiosqlite.connect(data_dir / "orders.db")
    await database.executescript(SCHEMA)
    await database.executemany("INSERT OR IGNORE INTO orders VALUES (?, ?, ?, ?, ?)", rows)
    await database.commit()
    return database


def _seeds(data_dir: Path) -> list[tuple[str, ...]]:
    data_dir.mkdir(parents=True, exist_ok=True)
    with (Path(__file__).parent / "data" / "orders.csv").open(encoding="utf-8", newline="") as file:
        return [tuple(row.values()) for row in csv.DictReader(file)]


async def lookup_receipt(database: aiosqlite.Connection, call: ToolCall) -> Mapping[str, Any] | None:
    """The receipt of the write done under `call.key`; None when nothing was done."""
    async with database.execute("SELECT receipt FROM refunds WHERE key = ?", (call.key,)) as rows:
        found = await rows.fetchone()
    return None if found is None else dict(json.loads(found[0]))


async def close(database: aiosqlite.Connection) -> None:
    await database.close()


@tool(kind="read", requires=["order_id"], provides="order")
async def get_order(database: aiosqlite.Connection, call: ToolCall, order_id: str) -> Order:
    """One of the customer's own orders."""
    query = (
        "SELECT o.id, state, late_days, shipping_cents, coalesce(sum(amount_cents), 0) FROM orders o"
        " LEFT JOIN refunds r ON r.order_id = o.id WHERE o.id = ? AND customer_id = ? GROUP BY o.id"
    )
    async with database.execute(query, (order_id, call.customer_id)) as rows:
        found = await rows.fetchone()
    if found is None:
        raise ToolRefused("no such order in this account")
    return Order(*found)


@tool(kind="write")
async def refund(database: aiosqlite.Connection, call: ToolCall, order_id: str, amount_cents: int) -> Refund:
    """Give money back for an order."""
    receipt = Refund(order_id, amount_cents)
    row = (call.key, order_id, amount_cents, json.dumps(asdict(receipt)))
    await database.execute("INSERT OR IGNORE INTO refunds VALUES (?, ?, ?, ?)", row)
    await database.commit()
    return receipt
