"""Writes on orders: refunds, cancellation, returns, second parcels, traces. Each runs inside one transaction and refuses what
the records make impossible; whether it is allowed is the policy's business."""

import hashlib

from aiosqlite import Connection, Row

from agents.domain.errors import ToolRefused
from agents.packs.shop.calendar_days import in_days, stamp
from agents.packs.shop.facts import CancelReceipt, ParcelReceipt, RefundReceipt, ReturnReceipt, TraceReceipt
from agents.packs.shop.reading import one, own_order, payment
from agents.packs.shop.seeding import REFUND_DUE_DAYS, RETURN_SEND_DAYS, TRACE_ANSWER_DAYS
from agents.ports import ToolCall

CARRIER = "Nordpost"  # carries what is sent a second time
SECOND_PARCEL_DAYS = 4


def new_id(prefix: str, call: ToolCall) -> str:
    """An id that follows from the idempotency key, so that the same call can never make two."""
    return f"{prefix}-{hashlib.sha256(f'{prefix} {call.key}'.encode()).hexdigest()[:8].upper()}"


async def refund_partial(db: Connection, call: ToolCall, order_id: str, amount_cents: int) -> RefundReceipt:
    await _with_status(db, call, order_id, "shipped", "delivered")
    refund_id, due_on = await _refund(db, call, order_id, "partial", amount_cents)
    return RefundReceipt(refund_id, order_id, amount_cents, due_on, return_id="", send_by="")


async def refund_full(db: Connection, call: ToolCall, order_id: str, amount_cents: int, *, send_back: bool) -> RefundReceipt:
    await _with_status(db, call, order_id, "shipped", "delivered")
    await _all_that_is_left(db, call, order_id, amount_cents)
    refund_id, due_on = await _refund(db, call, order_id, "full", amount_cents)
    label = await _return(db, call, order_id) if send_back else ReturnReceipt("", order_id, "")
    return RefundReceipt(refund_id, order_id, amount_cents, due_on, label.return_id, label.send_by)


async def cancel_order(db: Connection, call: ToolCall, order_id: str, amount_cents: int) -> CancelReceipt:
    await _with_status(db, call, order_id, "unpaid", "paid")
    await _all_that_is_left(db, call, order_id, amount_cents)
    await db.execute("UPDATE orders SET status = 'cancelled', cancelled_at = ? WHERE id = ?", (stamp(call.now), order_id))
    if amount_cents == 0:
        return CancelReceipt(order_id, refund_id="", amount_cents=0, due_on="")
    refund_id, due_on = await _refund(db, call, order_id, "cancellation", amount_cents)
    return CancelReceipt(order_id, refund_id, amount_cents, due_on)


async def open_return(db: Connection, call: ToolCall, order_id: str) -> ReturnReceipt:
    await _with_status(db, call, order_id, "delivered")
    return await _return(db, call, order_id)


async def send_again(db: Connection, call: ToolCall, order_id: str, kind: str) -> ParcelReceipt:
    """`kind` is "replacement" (of what arrived damaged) or "reship" (of what never arrived)."""
    order = await _with_status(db, call, order_id, "delivered" if kind == "replacement" else "shipped")
    if not order["in_stock"]:
        raise ToolRefused(f"{order['item']} is out of stock")
    if await one(db, "SELECT 1 FROM parcels WHERE order_id = ? AND kind <> 'first'", order_id):
        raise ToolRefused(f"order {order_id} was sent again already")
    if (await payment(db, call, order_id)).refundable_cents <= 0:
        raise ToolRefused(f"order {order_id} was refunded")
    parcel_id, expected_on = new_id("P", call), in_days(call.now, SECOND_PARCEL_DAYS)
    tracking = f"NT{int(hashlib.sha256(parcel_id.encode()).hexdigest(), 16) % 10**8:08d}"
    await db.execute(
        "INSERT INTO parcels (id, order_id, kind, carrier, tracking, status, expected_on)"
        " VALUES (?, ?, ?, ?, ?, 'announced', ?)",
        (parcel_id, order_id, kind, CARRIER, tracking, expected_on),
    )
    return ParcelReceipt(parcel_id, order_id, CARRIER, tracking, expected_on)


async def start_trace(db: Connection, call: ToolCall, order_id: str) -> TraceReceipt:
    await _with_status(db, call, order_id, "shipped", "delivered")
    if await one(db, "SELECT 1 FROM traces WHERE order_id = ?", order_id):
        raise ToolRefused(f"order {order_id} was traced already")
    trace_id, answer_by = new_id("TR", call), in_days(call.now, TRACE_ANSWER_DAYS)
    await db.execute("INSERT INTO traces VALUES (?, ?, 'open', ?, ?)", (trace_id, order_id, stamp(call.now), answer_by))
    return TraceReceipt(trace_id, order_id, answer_by)


async def _with_status(db: Connection, call: ToolCall, order_id: str, *expected: str) -> Row:
    order = await own_order(db, call, order_id)
    if order["status"] not in expected:
        raise ToolRefused(f"order {order_id} is {order['status']}")
    return order


async def _all_that_is_left(db: Connection, call: ToolCall, order_id: str, amount_cents: int) -> None:
    """The amount was agreed on facts that may have aged: what is paid back must still be exactly what is left."""
    left = (await payment(db, call, order_id)).refundable_cents
    if amount_cents != left:
        raise ToolRefused(f"{left} cents are left of order {order_id}, not {amount_cents}")


async def _refund(db: Connection, call: ToolCall, order_id: str, kind: str, amount_cents: int) -> tuple[str, str]:
    """The refund's id and the day it should have arrived. Raises ToolRefused for no money or more than was paid."""
    left = (await payment(db, call, order_id)).refundable_cents
    if not 0 < amount_cents <= left:
        raise ToolRefused(f"{amount_cents} cents cannot be refunded: {left} are left of order {order_id}")
    refund_id, due_on = new_id("RF", call), in_days(call.now, REFUND_DUE_DAYS)
    row = (refund_id, order_id, kind, amount_cents, stamp(call.now), due_on)
    await db.execute("INSERT INTO refunds VALUES (?, ?, ?, ?, ?, ?)", row)
    return refund_id, due_on


async def _return(db: Connection, call: ToolCall, order_id: str) -> ReturnReceipt:
    if await one(db, "SELECT 1 FROM returns WHERE order_id = ?", order_id):
        raise ToolRefused(f"order {order_id} has a return already")
    return_id, send_by = new_id("RT", call), in_days(call.now, RETURN_SEND_DAYS)
    await db.execute("INSERT INTO returns VALUES (?, ?, ?, ?)", (return_id, order_id, stamp(call.now), send_by))
    return ReturnReceipt(return_id, order_id, send_by)
