"""Writes on a customer's coupons and seller account. Each runs inside one transaction and refuses what the records make
impossible."""

from aiosqlite import Connection

from agents.domain.errors import ToolRefused
from agents.packs.shop.calendar_days import in_days, stamp
from agents.packs.shop.facts import ApplicationReceipt, CouponReceipt, DepositReceipt, WithdrawalReceipt
from agents.packs.shop.orders import new_id
from agents.packs.shop.reading import licence_state, one, own_order, own_seller
from agents.packs.shop.seeding import COUPON_VALID_DAYS
from agents.ports import ToolCall

REVIEW_DAYS = 3
DEPOSIT_PAY_DAYS = 14


async def issue_coupon(db: Connection, call: ToolCall, amount_cents: int, reason: str, order_id: str) -> CouponReceipt:
    if amount_cents <= 0:
        raise ToolRefused("a coupon needs a value")
    if (reason == "delay") != bool(order_id):
        raise ToolRefused("a coupon for a delay names the late order, and only that one does")
    if await one(db, "SELECT 1 FROM customers WHERE id = ?", call.customer_id) is None:
        raise ToolRefused("no such customer")
    if order_id:
        await own_order(db, call, order_id)
        if await one(db, "SELECT 1 FROM coupons WHERE order_id = ?", order_id):
            raise ToolRefused(f"the delay of order {order_id} has its coupon already")
    code, valid_until = new_id("CP", call), in_days(call.now, COUPON_VALID_DAYS)
    row = (code, call.customer_id, reason, order_id or None, amount_cents, stamp(call.now), valid_until)
    await db.execute("INSERT INTO coupons VALUES (?, ?, ?, ?, ?, ?, ?, 0)", row)
    return CouponReceipt(code, amount_cents, valid_until)


async def withdraw_coupon(db: Connection, call: ToolCall, code: str) -> WithdrawalReceipt:
    row = await one(db, "SELECT * FROM coupons WHERE code = ? AND customer_id = ?", code, call.customer_id)
    if row is None:
        raise ToolRefused(f"no coupon {code} in this account")
    if row["used"]:
        raise ToolRefused(f"coupon {code} is used already")
    await db.execute("DELETE FROM coupons WHERE code = ?", (code,))
    return WithdrawalReceipt(code, row["amount_cents"])


async def submit_application(db: Connection, call: ToolCall, seller_id: str) -> ApplicationReceipt:
    row = await own_seller(db, call, seller_id)
    if row["state"] not in ("draft", "rejected"):
        raise ToolRefused(f"seller account {seller_id} is {row['state']}")
    if not row["identity_verified"] or licence_state(row["licence_until"], call) != "valid":
        raise ToolRefused(f"seller account {seller_id} lacks a document")
    review_by = in_days(call.now, REVIEW_DAYS)
    await db.execute("UPDATE sellers SET state = 'in_review', review_by = ? WHERE id = ?", (review_by, seller_id))
    return ApplicationReceipt(seller_id, review_by)


async def request_deposit(db: Connection, call: ToolCall, seller_id: str, amount_cents: int) -> DepositReceipt:
    row = await own_seller(db, call, seller_id)
    left = row["deposit_due_cents"] - row["deposit_paid_cents"]
    if amount_cents <= 0 or amount_cents != left:
        raise ToolRefused(f"{left} cents of the deposit are open, not {amount_cents}")
    if await one(db, "SELECT 1 FROM deposit_invoices WHERE seller_id = ?", seller_id):
        raise ToolRefused(f"the deposit of {seller_id} is invoiced already")
    invoice_id, pay_by = new_id("DI", call), in_days(call.now, DEPOSIT_PAY_DAYS)
    row_values = (invoice_id, seller_id, amount_cents, stamp(call.now), pay_by)
    await db.execute("INSERT INTO deposit_invoices VALUES (?, ?, ?, ?, ?)", row_values)
    return DepositReceipt(invoice_id, seller_id, amount_cents, pay_by)
