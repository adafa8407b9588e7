"""What the read tools provide: the facts clauses and texts stand on.

Every field always has a value, so that no condition meets a null: a day that has not come is -1 (`*_days_ago`), a date or
name that is not there is "". `*_en` and `*_zh` are ready phrases for the customer. Days are the shop's calendar days.
"""

from dataclasses import dataclass
from typing import Literal

TraceResult = Literal["none", "open", "lost", "found"]
Licence = Literal["none", "expired", "valid"]
ParcelStatus = Literal["not_shipped", "announced", "in_transit", "delivered", "lost"]


@dataclass(frozen=True, slots=True)
class Customer:
    """`late_order_id` is the most overdue order on its way, one without a coupon for its delay first."""

    id: str
    name: str
    tier: Literal["standard", "plus"]
    verified: bool
    member_days: int
    delivered_orders: int
    open_orders: str
    late_order_id: str
    late_days: int
    late_order_has_coupon: bool


@dataclass(frozen=True, slots=True)
class Orders:
    """The customer's latest orders, newest first, at most ten."""

    count: int
    ids: str
    latest_id: str


@dataclass(frozen=True, slots=True)
class Order:
    """`overdue_days` is 0 unless the expected day has passed and nothing was sent; `delay_coupon`: its delay has its coupon."""

    id: str
    customer_id: str
    seller_id: str
    item: str
    item_zh: str
    category: str
    item_cents: int
    total_cents: int
    status: Literal["unpaid", "paid", "packed", "shipped", "delivered", "cancelled"]
    in_stock: bool
    ordered_on: str
    ordered_days_ago: int
    delivered_on: str
    delivered_days_ago: int
    return_open: bool
    sent_again: bool
    overdue_days: int
    delay_coupon: bool
    state_en: str
    state_zh: str


@dataclass(frozen=True, slots=True)
class Parcel:
    """The order's newest parcel. `late_days` is 0 unless it is overdue and not delivered."""

    order_id: str
    carrier: str
    tracking: str
    status: ParcelStatus
    expected_on: str
    late_days: int
    silent_days: int
    delivered_days_ago: int
    trace: TraceResult
    trace_days_ago: int
    where_en: str
    where_zh: str


@dataclass(frozen=True, slots=True)
class Payment:
    """`refundable_cents` is what was paid less what was refunded."""

    order_id: str
    method: str
    paid_cents: int
    refunded_cents: int
    refundable_cents: int


@dataclass(frozen=True, slots=True)
class Refunds:
    """The refunds of one order."""

    order_id: str
    count: int
    total_cents: int
    last_days_ago: int
    where_en: str
    where_zh: str


@dataclass(frozen=True, slots=True)
class Damage:
    """The damage report of one order, filed on its page in the shop's app."""

    order_id: str
    filed: bool
    photos: int
    filed_days_ago: int


@dataclass(frozen=True, slots=True)
class Coupons:
    """The customer's coupons: unused and valid ones, and the value of all that were issued in the last seven days."""

    active: int
    active_cents: int
    week_cents: int
    have_en: str
    have_zh: str


@dataclass(frozen=True, slots=True)
class Seller:
    """One seller account."""

    id: str
    name: str
    legal_form: Literal["company", "sole_trader", "private"]
    category: str
    state: Literal["draft", "in_review", "approved", "rejected", "suspended"]
    identity_verified: bool
    licence: Licence
    deposit_due_cents: int
    deposit_paid_cents: int
    deposit_open_cents: int
    deposit_invoiced: bool
    where_en: str
    where_zh: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a write did, as JSON values."""


@dataclass(frozen=True, slots=True)
class RefundReceipt(Receipt):
    refund_id: str
    order_id: str
    amount_cents: int
    due_on: str
    return_id: str
    send_by: str


@dataclass(frozen=True, slots=True)
class ParcelReceipt(Receipt):
    parcel_id: str
    order_id: str
    carrier: str
    tracking: str
    expected_on: str


@dataclass(frozen=True, slots=True)
class CouponReceipt(Receipt):
    code: str
    amount_cents: int
    valid_until: str


@dataclass(frozen=True, slots=True)
class WithdrawalReceipt(Receipt):
    code: str
    amount_cents: int


@dataclass(frozen=True, slots=True)
class CancelReceipt(Receipt):
    order_id: str
    refund_id: str
    amount_cents: int
    due_on: str


@dataclass(frozen=True, slots=True)
class ReturnReceipt(Receipt):
    return_id: str
    order_id: str
    send_by: str


@dataclass(frozen=True, slots=True)
class TraceReceipt(Receipt):
    trace_id: str
    order_id: str
    answer_by: str


@dataclass(frozen=True, slots=True)
class ApplicationReceipt(Receipt):
    seller_id: str
    review_by: str


@dataclass(frozen=True, slots=True)
class DepositReceipt(Receipt):
    invoice_id: str
    seller_id: str
    amount_cents: int
    pay_by: str
