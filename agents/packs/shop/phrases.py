"""How a state is put to the customer, in both languages. Money is written as everywhere: 24.90 EUR."""

from agents.domain.money import Money

Said = tuple[str, str]  # English, Chinese
CURRENCY = "EUR"  # as pack.toml's currency


def order_state(status: str, delivered_on: str, cancelled_on: str) -> Said:
    """What goes after "Order KW-… (the item)"."""
    return {
        "unpaid": ("waits for your payment", "尚未付款"),
        "paid": ("is paid and not packed yet", "已付款，尚未打包"),
        "packed": ("is packed and waits for the carrier", "已打包，等待承运商取件"),
        "shipped": ("is on its way", "正在运输途中"),
        "delivered": (f"was delivered on {delivered_on}", f"已于{delivered_on}送达"),
        "cancelled": (f"was cancelled on {cancelled_on}", f"已于{cancelled_on}取消"),
    }[status]


def parcel_state(
    *,
    status: str,
    carrier: str,
    tracking: str,
    expected_on: str,
    scanned_on: str,
    delivered_on: str,
    late_days: int,
    trace: str,
) -> Said:
    """Where the parcel is, as whole sentences."""
    if status == "cancelled":
        return "The order is cancelled, so nothing will be delivered.", "订单已取消，不会再配送。"
    if status == "delivered":
        return f"{carrier} reports delivery on {delivered_on}.", f"{carrier}显示已于{delivered_on}送达。"
    if status == "lost":
        return f"{carrier} reports that the parcel is lost.", f"{carrier}确认包裹已丢失。"
    if status in ("not_shipped", "announced"):
        return (
            f"It has not left our warehouse yet. The expected delivery day is {expected_on}.",
            f"包裹尚未出库，预计{expected_on}送达。",
        )
    traced = {"open": (" A trace is running.", "正在查件。"), "found": (" The trace found it.", "查件已找到包裹。")}.get(
        trace, ("", "")
    )
    if late_days > 0:
        days = "1 day" if late_days == 1 else f"{late_days} days"
        return (
            f"It is with {carrier} (tracking {tracking}) and {days} late: it was expected on {expected_on}. "
            f"The last scan was on {scanned_on}.{traced[0]}",
            f"包裹由{carrier}承运（运单号{tracking}），原定{expected_on}送达，已晚{late_days}天，最近一次扫描在{scanned_on}。{traced[1]}",
        )
    return (
        f"It is with {carrier} (tracking {tracking}) and expected on {expected_on}.{traced[0]}",
        f"包裹由{carrier}承运（运单号{tracking}），预计{expected_on}送达。{traced[1]}",
    )


def refund_state(count: int, total_cents: int, issued_on: str, due_on: str, *, arrived: bool) -> Said:
    """How the order's refunds stand, as whole sentences."""
    if count == 0:
        return "No refund has been issued for it.", "该订单没有退款记录。"
    amount = Money(total_cents, CURRENCY)
    if arrived:
        return (
            f"{amount} was refunded on {issued_on} to your original payment method and should have arrived by {due_on}.",
            f"已于{issued_on}按原付款方式退款{amount}，应已在{due_on}前到账。",
        )
    return (
        f"{amount} was refunded on {issued_on} to your original payment method and should arrive by {due_on}.",
        f"已于{issued_on}按原付款方式退款{amount}，预计{due_on}前到账。",
    )


def coupons_held(active: int, active_cents: int) -> Said:
    if active == 0:
        return "You have no unused coupon.", "您目前没有未使用的优惠券。"
    amount, coupons = Money(active_cents, CURRENCY), "1 unused coupon" if active == 1 else f"{active} unused coupons"
    return f"You have {coupons}, together worth {amount}.", f"您有{active}张未使用的优惠券，共{amount}。"


def seller_state(state: str, *, licence: str, identity_verified: bool, open_cents: int, invoiced: bool, review_by: str) -> Said:
    """Where a seller account stands and what it lacks, as whole sentences."""
    settled = {
        "approved": ("It is approved and may sell.", "已通过审核，可以销售。"),
        "suspended": ("It is suspended.", "账号已暂停。"),
        "in_review": (f"The application is in review until {review_by}.", f"申请正在审核，预计{review_by}前完成。"),
    }
    if state in settled:
        return settled[state]
    missing: list[Said] = []
    if not identity_verified:
        missing.append(("a verified identity", "身份认证"))
    if licence == "none":
        missing.append(("a trade licence", "营业执照"))
    if licence == "expired":
        missing.append(("a licence that has not expired", "有效期内的营业执照"))
    if open_cents > 0:
        amount = Money(open_cents, CURRENCY)
        billed = (" (the invoice is out)", "（账单已发出）") if invoiced else ("", "")
        missing.append((f"the deposit of {amount}{billed[0]}", f"保证金{amount}{billed[1]}"))
    begun = ("The application was rejected.", "申请已被退回。") if state == "rejected" else ("It is a draft.", "申请尚未提交。")
    if not missing:
        return f"{begun[0]} Nothing is missing.", f"{begun[1]}材料已齐全。"
    return (
        f"{begun[0]} Missing: {', '.join(said[0] for said in missing)}.",
        f"{begun[1]}还缺：{'、'.join(said[1] for said in missing)}。",
    )
