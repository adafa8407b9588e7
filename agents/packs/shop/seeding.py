"""The demo's first state: schema.sql and the CSV files beside it, their day offsets turned into real days once.

A seed says "delivered 2 days ago", not a date. The offsets are counted from the moment the database is created; from then
on the rows are ordinary history and grow old.
"""

import csv
import os
import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from agents.packs.shop.calendar_days import day_of, moment_days_ago, stamp

DATA = Path(__file__).parent / "data"
REFUND_DUE_DAYS = 5
TRACE_ANSWER_DAYS = 5
RETURN_SEND_DAYS = 14
COUPON_VALID_DAYS = 90
Row = Mapping[str, str]


def create_database(path: Path, now: datetime) -> None:
    """Make the database at `path`, whole or not at all. When another process was first, its file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with closing(sqlite3.connect(draft)) as db, db:
            db.execute("PRAGMA synchronous = OFF")  # nobody sees the draft: one fsync at the end is enough
            db.executescript("BEGIN;" + (DATA / "schema.sql").read_text(encoding="utf-8"))
            for table, rows in seed_rows(now).items():
                for row in rows:
                    names, marks = ", ".join(row), ", ".join("?" * len(row))
                    db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        os.link(draft, path)  # unlike a rename, never replaces a database that is already in use
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)


def seed_rows(now: datetime) -> dict[str, list[dict[str, Any]]]:
    """Table -> its rows, with days counted from `now`, in an order that satisfies the foreign keys."""
    orders = _read("orders")
    return {
        "customers": [_customer(row, now) for row in _read("customers")],
        "orders": [_order(row, now) for row in orders],
        "parcels": [_parcel(row, now) for row in orders if row["carrier"]]
        + [_second_parcel(row, now) for row in _read("second_parcels")],
        "payments": [_payment(row, now) for row in orders if row["method"]],
        "refunds": [_refund(row, now) for row in _read("refunds")],
        "returns": [_return(row, now) for row in _read("returns")],
        "traces": [_trace(row, now) for row in _read("traces")],
        "damage_reports": [_report(row, now) for row in _read("damage_reports")],
        "coupons": [_coupon(row, now) for row in _read("coupons")],
        "sellers": [_seller(row, now) for row in _read("sellers")],
    }


def _read(name: str) -> list[Row]:
    with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _at(now: datetime, days: str) -> str | None:
    return stamp(moment_days_ago(now, int(days))) if days else None


def _on(now: datetime, days: str, later: int = 0) -> str:
    return _day(now, int(days), later).isoformat()


def _day(now: datetime, days: int, later: int) -> date:
    return day_of(now) - timedelta(days=days - later)


def _picked(row: Row, names: Iterable[str]) -> dict[str, Any]:
    return {name: int(row[name]) if name.endswith("_cents") or name in _WHOLE else row[name] for name in names}


_WHOLE = frozenset({"verified", "in_stock", "photos", "used", "identity_verified"})


def _customer(row: Row, now: datetime) -> dict[str, Any]:
    return _picked(row, ("id", "name", "locale", "tier", "verified")) | {"joined_at": _at(now, row["joined"])}


def _order(row: Row, now: datetime) -> dict[str, Any]:
    names = (
        "id",
        "customer_id",
        "seller_id",
        "item",
        "item_zh",
        "category",
        "item_cents",
        "shipping_cents",
        "status",
        "in_stock",
    )
    days = {"ordered_at": _at(now, row["ordered"]), "expected_on": _on(now, row["expected"])}
    return _picked(row, names) | days | {"cancelled_at": _at(now, row["cancelled"])}


def _parcel(row: Row, now: datetime) -> dict[str, Any]:
    return {
        "id": row["id"].replace("KW-", "P-"),
        "order_id": row["id"],
        "kind": "first",
        "carrier": row["carrier"],
        "tracking": row["tracking"],
        "status": row["parcel"],
        "expected_on": _on(now, row["expected"]),
        "shipped_at": _at(now, row["shipped"]),
        "last_scan_at": _at(now, row["scanned"]),
        "delivered_at": _at(now, row["delivered"]),
    }


def _second_parcel(row: Row, now: datetime) -> dict[str, Any]:
    return _picked(row, ("order_id", "kind", "carrier", "tracking")) | {
        "id": f"{row['order_id'].replace('KW-', 'P-')}-{row['kind']}",
        "status": "in_transit",
        "expected_on": _on(now, row["expected"]),
        "shipped_at": _at(now, row["shipped"]),
        "last_scan_at": _at(now, row["shipped"]),
    }


def _payment(row: Row, now: datetime) -> dict[str, Any]:
    paid_cents = int(row["item_cents"]) + int(row["shipping_cents"])
    return {"order_id": row["id"], "method": row["method"], "paid_cents": paid_cents, "paid_at": _at(now, row["ordered"])}


def _refund(row: Row, now: datetime) -> dict[str, Any]:
    due_on = _on(now, row["issued"], REFUND_DUE_DAYS)
    return _picked(row, ("id", "order_id", "kind", "amount_cents")) | {"issued_at": _at(now, row["issued"]), "due_on": due_on}


def _return(row: Row, now: datetime) -> dict[str, Any]:
    send_by = _on(now, row["opened"], RETURN_SEND_DAYS)
    return _picked(row, ("id", "order_id")) | {"opened_at": _at(now, row["opened"]), "send_by": send_by}


def _trace(row: Row, now: datetime) -> dict[str, Any]:
    answer_by = _on(now, row["opened"], TRACE_ANSWER_DAYS)
    return _picked(row, ("id", "order_id", "result")) | {"opened_at": _at(now, row["opened"]), "answer_by": answer_by}


def _report(row: Row, now: datetime) -> dict[str, Any]:
    return _picked(row, ("order_id", "photos")) | {"filed_at": _at(now, row["filed"])}


def _coupon(row: Row, now: datetime) -> dict[str, Any]:
    days = {"issued_at": _at(now, row["issued"]), "valid_until": _on(now, row["issued"], COUPON_VALID_DAYS)}
    return (
        _picked(row, ("code", "customer_id", "reason", "amount_cents", "used")) | days | {"order_id": row["order_id"] or None}
    )


def _seller(row: Row, now: datetime) -> dict[str, Any]:
    names = ("id", "customer_id", "name", "legal_form", "category", "state", "identity_verified")
    money = ("deposit_due_cents", "deposit_paid_cents")
    days = {
        "licence_until": _on(now, row["licence"]) if row["licence"] else None,
        "review_by": _on(now, row["review"]) if row["review"] else None,
    }
    return _picked(row, (*names, *money)) | days
