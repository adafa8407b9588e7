"""The shop's tools: what the desk may read and do. Schemas come from here; the work is in the modules beside."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from agents.packs.shop import accounts, orders, reading
from agents.packs.shop.facts import (
    ApplicationReceipt,
    CancelReceipt,
    CouponReceipt,
    Coupons,
    Customer,
    Damage,
    DepositReceipt,
    Order,
    Orders,
    Parcel,
    ParcelReceipt,
    Payment,
    RefundReceipt,
    Refunds,
    ReturnReceipt,
    Seller,
    TraceReceipt,
    WithdrawalReceipt,
)
from agents.packs.shop.shop import Shop, open_shop
from agents.ports import ToolCall
from agents.tools.registry import tool

DEV_CUSTOMERS = tuple(f"C-{number:03d}" for number in range(1, 41))
"""Whom a demo may be: every customer of the seeds (see README.md for what happens to whom)."""


async def open_back_office(data_dir: Path, now: datetime | None = None) -> Shop:
    """The shop's database in `data_dir`, made from schema and seeds when missing. `now` is what the seeds' days count from."""
    return await open_shop(data_dir, now=now)


async def lookup_receipt(shop: Shop, call: ToolCall) -> Mapping[str, Any] | None:
    """The receipt of the write done under `call.key`; None when nothing was done."""
    return await shop.receipt(call.key) if call.key else None


async def close(shop: Shop) -> None:
    await shop.close()


@tool(kind="read", provides="customer")
async def get_customer(shop: Shop, call: ToolCall) -> Customer:
    """The customer's account: how long it exists, open orders, and the most overdue order if there is one."""
    return await reading.customer(shop.reader, call)


@tool(kind="read", provides="orders")
async def list_orders(shop: Shop, call: ToolCall) -> Orders:
    """The numbers of the customer's latest orders, newest first."""
    return await reading.orders(shop.reader, call)


@tool(kind="read", requires=["order_id"], provides="order")
async def get_order(shop: Shop, call: ToolCall, order_id: str) -> Order:
    """One of the customer's orders."""
    return await reading.order(shop.reader, call, order_id)


@tool(kind="read", requires=["order_id"], provides="parcel")
async def get_parcel(shop: Shop, call: ToolCall, order_id: str) -> Parcel:
    """Where the order's newest parcel is, and whether it is late or traced."""
    return await reading.parcel(shop.reader, call, order_id)


@tool(kind="read", requires=["order_id"], provides="payment")
async def get_payment(shop: Shop, call: ToolCall, order_id: str) -> Payment:
    """What was paid for the order and what of it can still be refunded."""
    return await reading.payment(shop.reader, call, order_id)


@tool(kind="read", requires=["order_id"], provides="refunds")
async def get_refunds(shop: Shop, call: ToolCall, order_id: str) -> Refunds:
    """The refunds of the order and when they arrive."""
    return await reading.refunds(shop.reader, call, order_id)


@tool(kind="read", requires=["order_id"], provides="damage")
async def get_damage_report(shop: Shop, call: ToolCall, order_id: str) -> Damage:
    """The damage report filed for the order, with its number of photos."""
    return await reading.damage(shop.reader, call, order_id)


@tool(kind="read", provides="coupons")
async def get_coupons(shop: Shop, call: ToolCall) -> Coupons:
    """The customer's coupons."""
    return await reading.coupons(shop.reader, call)


@tool(kind="read", requires=["seller_id"], provides="seller")
async def get_seller(shop: Shop, call: ToolCall, seller_id: str) -> Seller:
    """The customer's seller account: its state and what is missing."""
    return await reading.seller(shop.reader, call, seller_id)


@tool(kind="write")
async def refund_partial(shop: Shop, call: ToolCall, order_id: str, amount_cents: int) -> RefundReceipt:
    """Refund a part of the order; the customer keeps the item."""
    args = {"order_id": order_id, "amount_cents": amount_cents}
    return await shop.once(
        call, "refund_partial", args, RefundReceipt, lambda db: orders.refund_partial(db, call, order_id, amount_cents)
    )


@tool(kind="write")
async def refund_full(shop: Shop, call: ToolCall, order_id: str, amount_cents: int, send_back: bool) -> RefundReceipt:
    """Refund all that is left of the order's payment; with `send_back` the customer gets a return label."""
    args = {"order_id": order_id, "amount_cents": amount_cents, "send_back": send_back}
    return await shop.once(
        call,
        "refund_full",
        args,
        RefundReceipt,
        lambda db: orders.refund_full(db, call, order_id, amount_cents, send_back=send_back),
    )


@tool(kind="write")
async def send_replacement(shop: Shop, call: ToolCall, order_id: str) -> ParcelReceipt:
    """Send the item again because the first one arrived damaged or wrong."""
    return await shop.once(
        call,
        "send_replacement",
        {"order_id": order_id},
        ParcelReceipt,
        lambda db: orders.send_again(db, call, order_id, "replacement"),
    )


@tool(kind="write")
async def reship(shop: Shop, call: ToolCall, order_id: str) -> ParcelReceipt:
    """Send the item again because the parcel did not arrive."""
    return await shop.once(
        call, "reship", {"order_id": order_id}, ParcelReceipt, lambda db: orders.send_again(db, call, order_id, "reship")
    )


@tool(kind="write")
async def start_trace(shop: Shop, call: ToolCall, order_id: str) -> TraceReceipt:
    """Ask the carrier to search for the parcel."""
    return await shop.once(
        call, "start_trace", {"order_id": order_id}, TraceReceipt, lambda db: orders.start_trace(db, call, order_id)
    )


@tool(kind="write")
async def open_return(shop: Shop, call: ToolCall, order_id: str) -> ReturnReceipt:
    """Open a return and make its label."""
    return await shop.once(
        call, "open_return", {"order_id": order_id}, ReturnReceipt, lambda db: orders.open_return(db, call, order_id)
    )


@tool(kind="write")
async def cancel_order(shop: Shop, call: ToolCall, order_id: str, amount_cents: int) -> CancelReceipt:
    """Cancel an order that is not packed yet and pay back `amount_cents`, all that was paid (0 for an unpaid one)."""
    args = {"order_id": order_id, "amount_cents": amount_cents}
    return await shop.once(
        call, "cancel_order", args, CancelReceipt, lambda db: orders.cancel_order(db, call, order_id, amount_cents)
    )


@tool(kind="write", compensated_by="withdraw_coupon", compensation={"code": "receipt.code"})
async def issue_coupon(
    shop: Shop, call: ToolCall, amount_cents: int, reason: Literal["delay", "loyalty"], order_id: str
) -> CouponReceipt:
    """Issue a coupon, for the delay of `order_id` or for loyalty (then `order_id` is empty)."""
    args = {"amount_cents": amount_cents, "reason": reason, "order_id": order_id}
    return await shop.once(
        call, "issue_coupon", args, CouponReceipt, lambda db: accounts.issue_coupon(db, call, amount_cents, reason, order_id)
    )


@tool(kind="write")
async def withdraw_coupon(shop: Shop, call: ToolCall, code: str) -> WithdrawalReceipt:
    """Take back an unused coupon. No clause permits it: it only undoes one that was given with something that failed."""
    return await shop.once(
        call, "withdraw_coupon", {"code": code}, WithdrawalReceipt, lambda db: accounts.withdraw_coupon(db, call, code)
    )


@tool(kind="write")
async def submit_seller_application(shop: Shop, call: ToolCall, seller_id: str) -> ApplicationReceipt:
    """Submit a complete seller application for review."""
    return await shop.once(
        call,
        "submit_seller_application",
        {"seller_id": seller_id},
        ApplicationReceipt,
        lambda db: accounts.submit_application(db, call, seller_id),
    )


@tool(kind="write")
async def request_deposit(shop: Shop, call: ToolCall, seller_id: str, amount_cents: int) -> DepositReceipt:
    """Send the seller an invoice for the open deposit."""
    args = {"seller_id": seller_id, "amount_cents": amount_cents}
    return await shop.once(
        call, "request_deposit", args, DepositReceipt, lambda db: accounts.request_deposit(db, call, seller_id, amount_cents)
    )
