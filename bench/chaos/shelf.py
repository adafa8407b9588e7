"""Enough broken mugs for a whole load: every visit gets a customer and an order of its own, and the shop says what moved."""

import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from agents.packs.shop.seeding import create_database

MODEL = {"customers": "C-001", "orders": "KW-1042"}  # a verified customer, mugs delivered two days ago
FIRST = 200_000
NUMBERS = "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :count) "
CUSTOMER, ORDER = "'C-' || (:first + n)", "'KW-' || (:first + n)"
COPIES = {  # table -> the column that names the row to copy, and what copies have other values in
    "customers": ("id", {"id": CUSTOMER}),
    "orders": ("id", {"id": ORDER, "customer_id": CUSTOMER}),
    "parcels": ("order_id", {"id": "old.id || '-' || n", "order_id": ORDER, "tracking": "old.tracking || '-' || n"}),
    "payments": ("order_id", {"order_id": ORDER}),
}


def stock(path: Path, count: int) -> None:
    """The shop's database at `path`, with `count` more customers who each have one order of broken mugs."""
    create_database(path, datetime.now(UTC))
    with closing(sqlite3.connect(path)) as shop, shop:
        for table, (key, others) in COPIES.items():
            names = [str(row[1]) for row in shop.execute(f"PRAGMA table_info({table})")]
            values = ", ".join(others.get(name, f"old.{name}") for name in names)
            copy = f"INSERT INTO {table} SELECT {values} FROM {table} AS old, numbers WHERE old.{key} = :model"
            model = MODEL.get(table, MODEL["orders"])
            shop.execute(NUMBERS + copy, {"count": count, "first": FIRST, "model": model})


def customer_and_order(number: int) -> tuple[str, str]:
    return f"C-{FIRST + number}", f"KW-{FIRST + number}"


def refunds(path: Path) -> Counter[str]:
    """How often money moved, by order; only orders of `stock`."""
    with closing(sqlite3.connect(path)) as shop:
        return Counter(str(row[0]) for row in shop.execute("SELECT order_id FROM refunds WHERE order_id LIKE 'KW-2_____'"))
