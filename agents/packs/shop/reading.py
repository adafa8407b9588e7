"""Reads: what the shop knows, as facts. Every query is bound to the calling customer."""

from datetime import timedelta

from aiosqlite import Connection, Row

from agents.domain.errors import ToolRefused
from agents.packs.shop import phrases
from agents.packs.shop.calendar_days import day_of, days_ago, in_days, on_day, stamp
from agents.packs.shop.facts import (
    Coupons,
    Customer,
    Damage,
    Licence,
    Order,
    Orders,
    Parcel,
    ParcelStatus,
    Payment,
    Refunds,
    Seller,
    TraceResult,
)
from agents.ports import ToolCall

LATEST_ORDERS = 10
COUPON_WEEK = timedelta(days=7)


async def one(db: Connection, sql: str, *values: object) -> Row | None:
    """The first row, or None."""
    return next(iter(await db.execute_fetchall(sql, values)), None)


async def own_order(db: Connection, call: ToolCall, order_id: str, columns: str = "*", joined: str = "") -> Row:
    """`columns` of the order (o) and of what is `joined` to it, in one query. Raises ToolRefused when there is no such order or
    it is another customer's: both look the same from outside."""
    sql = f"SELECT {columns} FROM orders o {joined} WHERE o.id = ? AND o.customer_id = ?"
    row = await one(db, sql, order_id, call.customer_id)
    if row is None:
        raise ToolRefused(f"no order {order_id} in this account")
    return row


async def own_seller(db: Connection, call: ToolCall, seller_id: str) -> Row:
    """The seller account's row. Raises ToolRefused when there is none or it is another customer's."""
    row = await one(db, "SELECT * FROM sellers WHERE id = ? AND customer_id = ?", seller_id, call.customer_id)
    if row is None:
        raise ToolRefused(f"no seller account {seller_id} in this account")
    return row


async def customer(db: Connection, call: ToolCall) -> Customer:
    row = await one(db, "SELECT * FROM customers WHERE id = ?", call.customer_id)
    if row is None:
        raise ToolRefused("no such customer")
    orders = list(
        await db.execute_fetchall(
            "SELECT o.id, o.status, p.status AS parcel, p.expected_on, c.code AS coupon FROM orders o"
            " LEFT JOIN coupons c ON c.order_id = o.id LEFT JOIN parcels p ON p.id ="
            " (SELECT id FROM parcels WHERE order_id = o.id ORDER BY kind <> 'first' DESC LIMIT 1)"
            " WHERE o.customer_id = ? ORDER BY o.ordered_at DESC, o.id",
            (call.customer_id,),
        )
    )
    today = day_of(call.now).isoformat()
    late = [order for order in orders if order["parcel"] == "in_transit" and order["expected_on"] < today]
    late.sort(key=lambda order: (order["coupon"] is not None, order["expected_on"], order["id"]))
    still_open = [order["id"] for order in orders if order["status"] not in ("delivered", "cancelled")]
    return Customer(
        id=row["id"],
        name=row["name"],
        tier=row["tier"],
        verified=bool(row["verified"]),
        member_days=days_ago(row["joined_at"], call.now),
        delivered_orders=sum(order["status"] == "delivered" for order in orders),
        open_orders=", ".join(still_open),
        late_order_id=late[0]["id"] if late else "",
        late_days=_overdue(late[0]["expected_on"], call) if late else 0,
        late_order_has_coupon=bool(late) and late[0]["coupon"] is not None,
    )


async def orders(db: Connection, call: ToolCall) -> Orders:
    sql = "SELECT id FROM orders WHERE customer_id = ? ORDER BY ordered_at DESC, id DESC LIMIT ?"
    ids = [row["id"] for row in await db.execute_fetchall(sql, (call.customer_id, LATEST_ORDERS))]
    return Orders(count=len(ids), ids=", ".join(ids), latest_id=ids[0] if ids else "")


async def order(db: Connection, call: ToolCall, order_id: str) -> Order:
    row = await own_order(
        db,
        call,
        order_id,
        "o.*, (SELECT delivered_at FROM parcels WHERE order_id = o.id AND kind = 'first') AS delivered_at,"
        " EXISTS (SELECT 1 FROM returns WHERE order_id = o.id) AS return_open,"
        " EXISTS (SELECT 1 FROM parcels WHERE order_id = o.id AND kind <> 'first') AS sent_again,"
        " EXISTS (SELECT 1 FROM coupons WHERE order_id = o.id) AS delay_coupon",
    )
    delivered_on = on_day(row["delivered_at"])
    state_en, state_zh = phrases.order_state(row["status"], delivered_on, on_day(row["cancelled_at"]))
    return Order(
        id=row["id"],
        customer_id=row["customer_id"],
        seller_id=row["seller_id"],
        item=row["item"],
        item_zh=row["item_zh"],
        category=row["category"],
        item_cents=row["item_cents"],
        total_cents=row["item_cents"] + row["shipping_cents"],
        status=row["status"],
        in_stock=bool(row["in_stock"]),
        ordered_on=on_day(row["ordered_at"]),
        ordered_days_ago=days_ago(row["ordered_at"], call.now),
        delivered_on=delivered_on,
        delivered_days_ago=days_ago(row["delivered_at"], call.now),
        return_open=bool(row["return_open"]),
        sent_again=bool(row["sent_again"]),
        overdue_days=_overdue(row["expected_on"], call) if row["status"] in ("unpaid", "paid", "packed") else 0,
        delay_coupon=bool(row["delay_coupon"]),
        state_en=state_en,
        state_zh=state_zh,
    )


async def parcel(db: Connection, call: ToolCall, order_id: str) -> Parcel:
    row = await own_order(
        db,
        call,
        order_id,
        "o.status AS order_status, coalesce(p.expected_on, o.expected_on) AS expected_on, p.status, p.last_scan_at,"
        " p.delivered_at, coalesce(p.carrier, '') AS carrier, coalesce(p.tracking, '') AS tracking, t.result, t.opened_at",
        "LEFT JOIN parcels p ON p.id = (SELECT id FROM parcels WHERE order_id = o.id ORDER BY kind <> 'first' DESC LIMIT 1)"
        " LEFT JOIN traces t ON t.order_id = o.id",
    )
    status: ParcelStatus = row["status"] or "not_shipped"
    late_days = _overdue(row["expected_on"], call) if status in ("in_transit", "lost") else 0
    result: TraceResult = row["result"] or "none"
    where_en, where_zh = phrases.parcel_state(
        status="cancelled" if row["order_status"] == "cancelled" else status,
        carrier=row["carrier"],
        tracking=row["tracking"],
        expected_on=row["expected_on"],
        scanned_on=on_day(row["last_scan_at"]),
        delivered_on=on_day(row["delivered_at"]),
        late_days=late_days,
        trace=result,
    )
    return Parcel(
        order_id=order_id,
        carrier=row["carrier"],
        tracking=row["tracking"],
        status=status,
        expected_on=row["expected_on"],
        late_days=late_days,
        silent_days=days_ago(row["last_scan_at"], call.now),
        delivered_days_ago=days_ago(row["delivered_at"], call.now),
        trace=result,
        trace_days_ago=days_ago(row["opened_at"], call.now),
        where_en=where_en,
        where_zh=where_zh,
    )


async def payment(db: Connection, call: ToolCall, order_id: str) -> Payment:
    """An unpaid order has a payment of nothing."""
    row = await own_order(
        db,
        call,
        order_id,
        "coalesce(p.method, '') AS method, coalesce(p.paid_cents, 0) AS paid,"
        " (SELECT coalesce(sum(amount_cents), 0) FROM refunds WHERE order_id = o.id) AS back",
        "LEFT JOIN payments p ON p.order_id = o.id",
    )
    return Payment(order_id, row["method"], row["paid"], row["back"], row["paid"] - row["back"])


async def refunds(db: Connection, call: ToolCall, order_id: str) -> Refunds:
    await own_order(db, call, order_id)
    rows = list(await db.execute_fetchall("SELECT * FROM refunds WHERE order_id = ? ORDER BY issued_at, id", (order_id,)))
    total_cents = sum(row["amount_cents"] for row in rows)
    issued_at, due_on = (rows[-1]["issued_at"], rows[-1]["due_on"]) if rows else (None, "")
    arrived = due_on < day_of(call.now).isoformat()
    where_en, where_zh = phrases.refund_state(len(rows), total_cents, on_day(issued_at), due_on, arrived=arrived)
    return Refunds(order_id, len(rows), total_cents, days_ago(issued_at, call.now), where_en, where_zh)


async def damage(db: Connection, call: ToolCall, order_id: str) -> Damage:
    row = await own_order(
        db, call, order_id, "coalesce(d.photos, 0) AS photos, d.filed_at", "LEFT JOIN damage_reports d ON d.order_id = o.id"
    )
    filed = row["filed_at"] is not None
    return Damage(order_id, filed=filed, photos=row["photos"], filed_days_ago=days_ago(row["filed_at"], call.now))


async def coupons(db: Connection, call: ToolCall) -> Coupons:
    rows = list(await db.execute_fetchall("SELECT * FROM coupons WHERE customer_id = ?", (call.customer_id,)))
    today, since = in_days(call.now, 0), stamp(call.now - COUPON_WEEK)
    active = [row["amount_cents"] for row in rows if not row["used"] and row["valid_until"] >= today]
    have_en, have_zh = phrases.coupons_held(len(active), sum(active))
    week_cents = sum(row["amount_cents"] for row in rows if row["issued_at"] > since)
    return Coupons(len(active), sum(active), week_cents, have_en, have_zh)


async def seller(db: Connection, call: ToolCall, seller_id: str) -> Seller:
    row = await own_seller(db, call, seller_id)
    invoiced = await one(db, "SELECT 1 FROM deposit_invoices WHERE seller_id = ?", seller_id) is not None
    licence = licence_state(row["licence_until"], call)
    open_cents = row["deposit_due_cents"] - row["deposit_paid_cents"]
    where_en, where_zh = phrases.seller_state(
        row["state"],
        licence=licence,
        identity_verified=bool(row["identity_verified"]),
        open_cents=open_cents,
        invoiced=invoiced,
        review_by=row["review_by"] or "",
    )
    return Seller(
        id=row["id"],
        name=row["name"],
        legal_form=row["legal_form"],
        category=row["category"],
        state=row["state"],
        identity_verified=bool(row["identity_verified"]),
        licence=licence,
        deposit_due_cents=row["deposit_due_cents"],
        deposit_paid_cents=row["deposit_paid_cents"],
        deposit_open_cents=open_cents,
        deposit_invoiced=invoiced,
        where_en=where_en,
        where_zh=where_zh,
    )


def licence_state(valid_until: str | None, call: ToolCall) -> Licence:
    if valid_until is None:
        return "none"
    return "valid" if valid_until >= in_days(call.now, 0) else "expired"


def _overdue(expected_on: str, call: ToolCall) -> int:
    """Days since the day something was expected; 0 when that has not passed."""
    today = day_of(call.now)
    return max((today - today.fromisoformat(expected_on)).days, 0)
