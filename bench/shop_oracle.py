"""Was a write of the demo shop legal? Written from the prose of its clauses alone, over the shop's own rows.

It shares no code with the policy engine, the tools or the pack, and knows no condition of a clause, so that what both say is
said twice independently. Whether the customer had said yes is the caller's to judge.

Long: it reads like the prose, clause after clause.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

BERLIN = ZoneInfo("Europe/Berlin")
VERIFIED = {"damaged_item", "missing_parcel", "change_of_mind", "cancel_order", "coupon_request", "seller_qualification"}
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """A write this desk did before for the same customer."""

    action: str
    amount_cents: int
    at: datetime


class World:
    """The shop's rows as they are before a write; `done` are the desk's earlier writes for the customer."""

    def __init__(self, shop: sqlite3.Connection, customer_id: str, now: datetime, done: Sequence[Done]) -> None:
        shop.row_factory = sqlite3.Row
        self._shop, self.customer_id, self.now, self.done = shop, customer_id, now, done
        self.today = now.astimezone(BERLIN).date()

    def rows(self, query: str, *values: Any) -> list[Row]:
        return [dict(row) for row in self._shop.execute(query, values)]

    def one(self, query: str, *values: Any) -> Row | None:
        return next(iter(self.rows(query, *values)), None)

    def days_since(self, stamp: str | None) -> int | None:
        """Calendar days in Berlin since an ISO time or date; None for never."""
        if not stamp:
            return None
        if len(stamp) == 10:
            return (self.today - date.fromisoformat(stamp)).days
        at = datetime.fromisoformat(stamp)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return (self.today - at.astimezone(BERLIN).date()).days

    def spent(self, actions: set[str], days: int) -> list[Done]:
        return [each for each in self.done if each.action in actions and each.at > self.now - timedelta(days=days)]


def illegal(action: str, args: Mapping[str, Any], *, scenario: str, world: World) -> str | None:
    """Why the shop's rules do not allow this write for this customer; None when they do."""
    rule = RULES.get((scenario, action))
    if rule is None:
        return f"nothing allows {action} when the matter is {scenario}"
    amount = args.get("amount_cents", 0)
    if not isinstance(amount, int) or isinstance(amount, bool) or amount < 0:
        return "no amount of money"
    customer = world.one("SELECT * FROM customers WHERE id = ?", world.customer_id)
    if customer is None:
        return "no such customer"
    if scenario in VERIFIED and not customer["verified"]:
        return "the account is not verified"
    return rule(args, customer, world)


@dataclass(frozen=True, slots=True)
class Order:
    """An order of the customer's own with what hangs on it."""

    row: Row
    parcels: Sequence[Row]
    paid_cents: int
    refunded_cents: int

    @property
    def left_cents(self) -> int:
        return self.paid_cents - self.refunded_cents

    @property
    def newest(self) -> Row | None:
        second = [parcel for parcel in self.parcels if parcel["kind"] != "first"]
        return next(iter(second or self.parcels), None)

    @property
    def sent_again(self) -> bool:
        return any(parcel["kind"] != "first" for parcel in self.parcels)

    def delivered_days(self, world: World) -> int | None:
        return min((d for p in self.parcels if (d := world.days_since(p["delivered_at"])) is not None), default=None)


def _order(args: Mapping[str, Any], world: World) -> Order | str:
    order_id = args.get("order_id")
    row = world.one("SELECT * FROM orders WHERE id = ?", order_id) if isinstance(order_id, str) else None
    if row is None or row["customer_id"] != world.customer_id:
        return "not an order of this customer"
    paid = world.one("SELECT paid_cents FROM payments WHERE order_id = ?", order_id)
    back = world.rows("SELECT amount_cents FROM refunds WHERE order_id = ?", order_id)
    parcels = world.rows("SELECT * FROM parcels WHERE order_id = ?", order_id)
    return Order(row, parcels, paid["paid_cents"] if paid else 0, sum(each["amount_cents"] for each in back))


def _refund_limits(amount: int, order: Order, world: World) -> str | None:
    """What holds for every refund."""
    before = world.spent({"refund_partial", "refund_full"}, 30)
    if amount <= 0 or amount > order.left_cents:
        return "more than what was paid and not yet given back, or nothing"
    if amount > 15_000:
        return "a single refund above 150.00 is a person's"
    if len(before) >= 3:
        return "three refunds in 30 days"
    if sum(each.amount_cents for each in before) + amount > 30_000:
        return "more than 300.00 in 30 days"
    return None


def _damage(order: Order, world: World) -> str | None:
    """What holds for everything that settles damage."""
    if order.row["status"] != "delivered":
        return "not delivered"
    days = order.delivered_days(world)
    if days is None or days > (3 if order.row["category"] == "food" else 30):
        return "reported too late"
    if order.refunded_cents:
        return "refunded before"
    return "a new item was sent before" if order.sent_again else None


def _photos(order: Order, world: World) -> int:
    report = world.one("SELECT photos FROM damage_reports WHERE order_id = ?", order.row["id"])
    return int(report["photos"]) if report else 0


def _damage_partial(args: Mapping[str, Any], customer: Row, world: World) -> str | None:
    order, amount = _order(args, world), int(args["amount_cents"])
    if isinstance(order, str):
        return order
    if amount * 100 > order.row["item_cents"] * 40 or amount > 6_000:
        return "more than 40 % of the price, or than 60.00"
    if amount > 3_000 and _photos(order, world) < 1:
        return "no photo"
    return _damage(order, world) or _refund_limits(amount, order, world)


def _damage_full(args: Mapping[str, Any], customer: Row, world: World) -> str | None:
    order, amount = _order(args, world), int(args["amount_cents"])
    if isinstance(order, str):
        return order
    if args.get("send_back") is not True:
        return "the item has to come back"
    if world.rows("SELECT 1 FROM returns WHERE order_id = ?", order.row["id"]):
        return "a return is open"
    if amount != order.left_cents:
        return "not everything that was paid"
    if amount > 3_000 and _photos(order, world) < 1:
        return "no photo"
    return _damage(order, world) or _refund_limits(amount, order, world)


def _damage_replacement(args: Mapping[str, Any], customer: Row, world: World) -> str | None:
    order = _order(args, world)
    if isinstance(order, str):
        return order
    if order.row["category"] in ("digital", "custom"):
        return "such items are not replaced"
    if not order.row["in_stock"]:
        return "out of stock"
    if order.row["item_cents"] > 20_000:
        return "above 200.00"
    if order.row["item_cents"] > 3_000 and _photos(order, world) < 1:
        return "no photo"
    return _damage(order, world)


def _late_days(order: Order, world: World) -> int:
    """Days past the expected day of a parcel that has not arrived."""
    parcel = order.newest
    if parcel is None or parcel["status"] not in ("in_transit", "lost"):
        return 0
    return max(world.days_since(parcel["expected_on"]) or 0, 0)


def _missing(order: Order) -> str | None:
    """What holds for everything that settles a missing parcel."""
    if order.row["status"] not in ("shipped", "delivered") or order.newest is None:
        return "not shipped"
    return "settled before" if order.sent_again or order.refunded_cents else None


def _trace(args: Mapping[str, Any], customer: Row, world: World) -> str | None:
    order = _order(args, world)
    if isinstance(order, str):
        return order
    if wrong := _missing(order):
        return wrong
    parcel = order.newest
    assert parcel is not None
    if parcel["status"] == "lost":
        return "reported lost already"
    if world.rows("SELECT 1 FROM traces WHERE order_id = ?", order.row["id"]):
        return "traced before"
    if parcel["status"] == "delivered":
        reported = world.days_since(parcel["delivered_at"])
        return None if reported is not None and reported <= 14 else "the delivery was reported too long ago"
    silent = world.days_since(parcel["last_scan_at"])
    if _late_days(order, world) >= 3 or (parcel["status"] == "in_transit" and silent is not None and silent >= 5):
        return None
    return "too early"


def _given_up(order: Order, world: World, late_days: int) -> str | None:
    parcel = order.newest
    if wrong := _missing(order):
        return wrong
    assert parcel is not None
    if parcel["status"] == "delivered":
        return "the carrier says it was delivered"
    lost = parcel["status"] == "lost" or bool(
        world.rows("SELECT 1 FROM traces WHERE order_id = ? AND result = 'lost'", order.row["id"])
    )
    return None if lost or _late_days(order, world) >= late_days else f"neither lost nor {late_days} days late"


def _reship(args: Mapping[str, Any], customer: Row, world: World) -> str | None:
    order = _order(args, world)
    if isinstance(order, str):
        return order
    return _given_up(order, world, 7) or (None if order.row["in_stock"] else "out of stock")


def _missing_refund(args: Mapping[str, Any], customer: Row, world: World) -> str | None:
    order, amount = _order(args, world), int(args["amount_cents"])
    if isinstance(order, str):
        return order
    if args.get("send_back") is not False:
        return "there is nothing to send back"
    if amount != order.left_cents:
        return "not everything that was paid"
    return _given_up(order, world, 10) or _refund_limits(amount, order, world)


def _return(args: Mapping[str, Any], customer: Row, world: World) -> str | None:
    order = _order(args, world)
    if isinstance(order, str):
        return order
    category, days = order.row["category"], order.delivered_days(world)
    if order.row["status"] != "delivered" or days is None:
        return "not delivered"
    if category in ("hygiene", "food", "digital", "custom"):
        return "such items are not taken back"
    if world.rows("SELECT 1 FROM returns WHERE order_id = ?", order.row["id"]):
        return "a return is open"
    if order.paid_cents and order.refunded_cents >= order.paid_cents:
        return "refunded in full"
    return None if days <= (30 if category == "fashion" or customer["tier"] == "plus" else 14) else "too late"


def _cancel(args: Mapping[str, Any], customer: Row, world: World) -> str | None:
    order, amount = _order(args, world), int(args["amount_cents"])
    if isinstance(order, str):
        return order
    if order.row["status"] not in ("unpaid", "paid"):
        return f"the order is {order.row['status']}"
    if order.row["category"] == "custom" and world.days_since(order.row["ordered_at"]) != 0:
        return "its production has begun"
    return None if amount == order.left_cents else "not everything that was paid"


def _coupon_limits(amount: int, customer: Row, world: World) -> str | None:
    """What holds for every coupon."""
    placed = world.rows("SELECT * FROM orders WHERE customer_id = ?", world.customer_id)
    held = world.rows("SELECT * FROM coupons WHERE customer_id = ?", world.customer_id)
    age = world.days_since(customer["joined_at"])
    if age is None or age < 30 or not any(row["status"] == "delivered" for row in placed):
        return "too new a customer"
    if sum(not row["used"] and date.fromisoformat(row["valid_until"]) >= world.today for row in held) >= 2:
        return "two unused coupons"
    week = sum(row["amount_cents"] for row in held if _at(row["issued_at"]) > world.now - timedelta(days=7))
    if week + amount > 1_000 or sum(d.amount_cents for d in world.spent({"issue_coupon"}, 7)) + amount > 1_000:
        return "more than 10.00 within 7 days"
    return None


def _cancel_coupon(args: Mapping[str, Any], customer: Row, world: World) -> str | None:
    """The coupon that goes with the cancellation of an order that is late and not packed."""
    order, amount = _order(args, world), int(args["amount_cents"])
    if isinstance(order, str):
        return order
    if order.row["status"] != "paid" or (world.days_since(order.row["expected_on"]) or 0) < 3:
        return "not a paid order that is three days late"
    if world.rows("SELECT 1 FROM coupons WHERE order_id = ?", order.row["id"]):
        return "this delay has its coupon"
    if args.get("reason") != "delay" or amount != 500:
        return "no coupon of that value"
    return _coupon_limits(amount, customer, world)


def wrongly_withdrawn(code: Any, given: str | None, order_id: str, world: World) -> str | None:
    """Why a coupon may not be withdrawn; None when it may. `given` is the one this visit gave with the cancellation of
    `order_id`: only that one, and only when the order was then not cancelled."""
    if given is None or code != given:
        return "not the coupon that was given with the cancellation"
    order = world.one("SELECT status FROM orders WHERE id = ?", order_id)
    return "the order was cancelled" if order is None or order["status"] == "cancelled" else None


def _coupon(args: Mapping[str, Any], customer: Row, world: World) -> str | None:
    amount, reason = int(args["amount_cents"]), args.get("reason")
    placed = world.rows("SELECT * FROM orders WHERE customer_id = ?", world.customer_id)
    delivered = sum(row["status"] == "delivered" for row in placed)
    if wrong := _coupon_limits(amount, customer, world):
        return wrong
    if reason == "delay":
        return _delay_coupon(args, amount, world)
    if reason != "loyalty" or args.get("order_id") != "":
        return "no such reason"
    if any(_late_without_coupon(row["id"], world) for row in placed):
        return "a late order has its coupon to come first"
    if amount == 500:
        return None if delivered >= 5 else "fewer than 5 delivered orders"
    return None if 0 < amount <= 1_000 and delivered >= 20 else "no coupon of that value"


def _late_without_coupon(order_id: str, world: World) -> bool:
    order = _order({"order_id": order_id}, world)
    if isinstance(order, str) or order.newest is None or order.newest["status"] != "in_transit":
        return False
    return _late_days(order, world) >= 3 and not world.rows("SELECT 1 FROM coupons WHERE order_id = ?", order_id)


def _delay_coupon(args: Mapping[str, Any], amount: int, world: World) -> str | None:
    order = _order(args, world)
    if isinstance(order, str):
        return order
    if order.newest is None or order.newest["status"] != "in_transit":
        return "not on its way"
    if world.rows("SELECT 1 FROM coupons WHERE order_id = ?", order.row["id"]):
        return "this delay has its coupon"
    late = _late_days(order, world)
    if late < 3:
        return "not late enough"
    return None if amount == 500 or (0 < amount <= 1_000 and late >= 10) else "no coupon of that value"


def _at(stamp: str) -> datetime:
    at = datetime.fromisoformat(stamp)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _seller(args: Mapping[str, Any], world: World) -> Row | str:
    seller_id = args.get("seller_id")
    row = world.one("SELECT * FROM sellers WHERE id = ?", seller_id) if isinstance(seller_id, str) else None
    if row is None or row["customer_id"] != world.customer_id:
        return "not a seller account of this customer"
    if row["legal_form"] not in ("company", "sole_trader"):
        return "private persons cannot sell"
    return "suspended" if row["state"] == "suspended" else row


def _apply(args: Mapping[str, Any], customer: Row, world: World) -> str | None:
    seller = _seller(args, world)
    if isinstance(seller, str):
        return seller
    if seller["state"] in ("in_review", "approved"):
        return "submitted before"
    licence = seller["licence_until"]
    if not seller["identity_verified"] or not licence or date.fromisoformat(licence) < world.today:
        return "identity or licence missing"
    return None if seller["deposit_paid_cents"] >= seller["deposit_due_cents"] else "the deposit is open"


def _deposit(args: Mapping[str, Any], customer: Row, world: World) -> str | None:
    seller, amount = _seller(args, world), int(args["amount_cents"])
    if isinstance(seller, str):
        return seller
    left = seller["deposit_due_cents"] - seller["deposit_paid_cents"]
    if world.rows("SELECT 1 FROM deposit_invoices WHERE seller_id = ?", seller["id"]):
        return "invoiced before"
    if left <= 0 or amount != left:
        return "not what is open of the deposit"
    return None if amount <= (200_000 if seller["category"] in ("electronics", "food") else 50_000) else "a person's"


RULES: Mapping[tuple[str, str], Callable[[Mapping[str, Any], Row, World], str | None]] = {
    ("damaged_item", "refund_partial"): _damage_partial,
    ("damaged_item", "refund_full"): _damage_full,
    ("damaged_item", "send_replacement"): _damage_replacement,
    ("missing_parcel", "start_trace"): _trace,
    ("missing_parcel", "reship"): _reship,
    ("missing_parcel", "refund_full"): _missing_refund,
    ("change_of_mind", "open_return"): _return,
    ("cancel_order", "cancel_order"): _cancel,
    ("cancel_order", "issue_coupon"): _cancel_coupon,
    ("coupon_request", "issue_coupon"): _coupon,
    ("seller_qualification", "submit_seller_application"): _apply,
    ("seller_qualification", "request_deposit"): _deposit,
}
