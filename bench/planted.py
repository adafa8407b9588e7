"""Mistakes that people make in a pack, each planted alone into a sound one."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plant:
    """In `file` of `pack`, `old` becomes `new` (all files when `file` is a folder's pattern). The mistake must be told on the
    line that begins with or holds `at`, of `told_in` or of the same file."""

    kind: str
    pack: str
    file: str
    old: str
    new: str
    at: str
    told_in: str = ""


LATE, ONCE, MONTH, CONFIRM = "policy/late.shipping.md", "policy/late.once.md", "policy/refund.month.md", "policy/confirm.md"
WHEN_LATE = (
    'when: order.state == "on_the_way" && order.late_days >= param.late_days && args.amount_cents == order.shipping_cents'
)
RUNG = "[[ladder.late_order.rung]]"
TERMS = 'args = { order_id = "order.id", amount_cents = "order.shipping_cents" }'
SCENARIO, PERSON, CHAT = "[scenario.late_order]", "[scenario.person]", "[scenario.small_talk]"
SHOP = "policy/"
UNDOES, WITHDRAW = 'compensated_by="withdraw_coupon"', "async def withdraw_coupon"
THEN = "[[ladder.cancel_order.rung.then]]"


def _fact(file: str, old: str, new: str, pack: str = "starter", at: str = "when:") -> Plant:
    return Plant("unknown name", pack, file, old, new, at)


def _type(file: str, old: str, new: str, pack: str = "starter", at: str = "when:") -> Plant:
    return Plant("type error", pack, file, old, new, at)


def _never(file: str, old: str, new: str, pack: str = "starter", at: str = "when:") -> Plant:
    return Plant("unreachable clause", pack, file, old, new, at)


def _clash(file: str, old: str, new: str, pack: str = "starter", at: str = "when:", told_in: str = "") -> Plant:
    return Plant("contradiction", pack, file, old, new, at, told_in)


def _undo(file: str, old: str, new: str, at: str) -> Plant:
    return Plant("undoing", "shop", file, old, new, at)


PLANTS: Sequence[Plant] = (
    _fact(LATE, "order.late_days >=", "order.days_late >="),
    _fact(LATE, "order.state ==", "parcel.state =="),
    _fact(LATE, "param.late_days", "param.late_day"),
    _fact(LATE, "args.amount_cents ==", "args.amount =="),
    _fact(MONTH, "param.month_cents", "param.months_cents", at="limits:"),
    _fact("ladders.toml", '"order.shipping_cents"', '"order.shipping"', at=RUNG),
    _fact("ladders.toml", "{order.id}", "{order.number}", at=RUNG),
    _fact("scenarios.toml", '["get_order"]', '["get_orders"]', at="reads ="),
    _fact(LATE, "scenario: late_order", "scenario: late_orders", at="scenario:"),
    _fact(LATE, "action: refund", "action: refunds", at="action:"),
    _fact(SHOP + "return.window.md", "order.status", "order.stauts", "shop"),
    _fact(SHOP + "coupon.week.issued.md", "coupons.week_cents", "coupon.week_cents", "shop"),
    _type(LATE, "order.late_days >= param.late_days", 'order.late_days >= "2"'),
    _type(LATE, 'order.state == "on_the_way"', "order.state == 1"),
    _type(LATE, WHEN_LATE, "when: order.late_days"),
    _type(LATE, "order.late_days >= param.late_days", "order.late_days"),
    _type(LATE, "order.late_days >=", "order.late_days >= 1.5 && order.late_days >="),
    _type(ONCE, "order.refunded_cents > 0", "order.refunded_cents"),
    _type(MONTH, "amount_cents: param.month_cents", "amount_cents: order.state", at="limits:"),
    _type("ladders.toml", '"order.shipping_cents"', '"order.state"', at=RUNG),
    _type("ladders.toml", 'order_id = "order.id"', 'order_id = "order.late_days"', at=RUNG),
    _type(SHOP + "damage.not_delivered.md", "when: ", "when: size(order.item_cents) > 1 || ", "shop"),
    _type(SHOP + "refund.high_amount.md", "amount_cents: param.person_above_cents", "amount_cents: order.status", "shop", at="limits:"),
    _type(SHOP + "privacy.own_orders.md", "order.customer_id == customer.id", "order.customer_id && customer.id", "shop"),
    _never(LATE, 'order.state == "on_the_way"', 'order.state == "on_the_road"'),
    _never(LATE, "order.late_days >= param.late_days", "order.late_days >= 5 && order.late_days < 3"),
    _never(LATE, 'order.state == "on_the_way"', 'order.state == "on_the_way" && order.state == "delivered"'),
    _never(ONCE, "order.refunded_cents > 0", "order.refunded_cents > 0 && order.refunded_cents < 0"),
    _never(SHOP + "damage.window.food.md", 'order.category == "food"', 'order.category == "food" && order.category == "drink"', "shop"),
    _never(SHOP + "missing.delivered.md", '"delivered"', '"arrived"', "shop"),
    _never(SHOP + "cancel.shipped.md", "scenario: cancel_order", "scenario: coupon_request", "shop", at="action:"),
    _never(SHOP + "seller.deposit.raised.md", "scenario: seller_qualification", "scenario: change_of_mind", "shop", at="action:"),
    _never(SHOP + "coupon.delay.md", "scenario: coupon_request", "scenario: change_of_mind", "shop", at="action:"),
    _clash(ONCE, "order.refunded_cents > 0", "order.late_days >= 0", told_in=LATE),
    _clash(ONCE, "order.refunded_cents > 0", 'order.state == "on_the_way"', told_in=LATE),
    _clash(ONCE, "order.refunded_cents > 0", "true", told_in=LATE),
    _clash(CONFIRM, "when: confirmed", 'when: confirmed && order.state == "delivered"', told_in=LATE),
    _clash(CONFIRM, "when: confirmed", "when: confirmed && order.late_days < param.late_days", told_in=LATE),
    _clash(MONTH, "amount_cents: param.month_cents", "amount_cents: -1", at="limits:"),
    _clash(MONTH, "amount_cents: param.month_cents", "count: 0", at="limits:"),
    _clash(SHOP + "return.not_delivered.md", 'order.status != "delivered"', 'order.status == "delivered"', "shop", told_in=SHOP + "return.window.md"),
    Plant("never permitted", "starter", LATE, "effect: permit", "effect: forbid", RUNG, "ladders.toml"),
    Plant("never permitted", "starter", LATE, "scenario: late_order", "scenario: person", RUNG, "ladders.toml"),
    Plant("never permitted", "starter", "tools.py", '@tool(kind="write")\n', '@tool(kind="write")\nasync def gift(database: aiosqlite.Connection, call: ToolCall, order_id: str) -> Refund:\n    """Send a gift."""\n    return Refund(order_id, 0)\n\n\n@tool(kind="write")\n', "async def gift"),
    Plant("never confirmed", "starter", CONFIRM, "when: confirmed", "when: true", RUNG, "ladders.toml"),
    Plant("no exemplar", "starter", "exemplars/zh.toml", 'scenario = "person"', 'scenario = "small_talk"', PERSON, "scenarios.toml"),
    Plant("no exemplar", "starter", "exemplars/en.toml", 'scenario = "late_order"', 'scenario = "small_talk"', SCENARIO, "scenarios.toml"),
    Plant("no exemplar", "starter", "scenarios.toml", PERSON, '[scenario.refund_status]\ntitle = { en = "Refund", zh = "退款" }\ndescription = { en = "asks about a refund", zh = "询问退款" }\nrisk = "low"\n\n' + PERSON, "[scenario.refund_status]"),
    Plant("missing translation", "starter", LATE, "## zh", "## fr", "## fr"),
    Plant("missing translation", "starter", LATE, "zh: 配送 1", "fr: Livraison 1", "cite:"),
    Plant("missing translation", "starter", "scenarios.toml", ', zh = "订单晚到"', "", SCENARIO),
    Plant("missing translation", "starter", "scenarios.toml", ', zh = "请问是哪个订单？订单号类似A-1001。"', "", "[slot.order_id]"),
    Plant("missing translation", "starter", "ladders.toml", ', zh = "已为订单{order.id}退款{amount}。"', "", RUNG),
    Plant("missing translation", "starter", "pack.toml", ', zh = "这次未能办理成功。"', "", "failed ="),
    _undo("tools.py", UNDOES, 'compensated_by="withdraw_coupons"', "async def issue_coupon"),
    _undo("tools.py", '{"code": "receipt.code"}', "{}", "async def issue_coupon"),
    _undo("tools.py", "receipt.code", "receipt.number", "async def issue_coupon"),
    _undo("tools.py", "receipt.code", "args.amount_cents", "async def issue_coupon"),
    _undo("tools.py", f'@tool(kind="write")\n{WITHDRAW}', f'@tool(kind="write", compensated_by="issue_coupon", compensation={{"reason": "args.code"}})\n{WITHDRAW}', WITHDRAW),
    _undo("ladders.toml", 'undone.en = "The coupon {receipt.code} is withdrawn again."\n', "", "undone.zh"),
    _undo("ladders.toml", f'{THEN}\naction = "cancel_order"', f'{THEN}\naction = "cancel_orders"', THEN),
    _undo("pack.toml", "[texts.undone]", "[texts.taken_back]", "[texts.taken_back]"),
    Plant("syntax", "starter", LATE, "order.late_days >= param", "order.late_days => param", "when:"),
    Plant("syntax", "starter", LATE, "effect: permit", "effect: allow", "effect:"),
    Plant("syntax", "starter", "ladders.toml", 'action = "refund"', 'action = "refund', 'action = "refund'),
    Plant("syntax", "starter", "pack.toml", 'timezone = "Europe/Berlin"', 'timezone = "Europe/Berlim"', "timezone"),
    Plant("syntax", "starter", "scenarios.toml", r"(?P<digits>\d{4})", r"(?P<digits>\d{4}", "pattern"),
    Plant("syntax", "starter", "exemplars/en.toml", 'act = "counters"', 'act = "bargains"', 'act = "bargains"'),
)  # fmt: skip
