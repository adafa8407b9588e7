"""Who comes and what they say: scripted visits of the demo shop's customers, in both languages, over every scenario.

Ids are read from the shop's own seeds, so that each customer asks about an order they have.
"""

import csv
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import agents

SEEDS = Path(agents.__file__).parent / "packs" / "shop" / "data"


@dataclass(frozen=True, slots=True)
class Visit:
    """One customer's messages, in order."""

    customer_id: str
    locale: str
    scenario: str
    messages: tuple[str, ...]


# scenario -> locale -> scripts; {order}, {item} and {seller} are filled in
SCRIPTS: Mapping[str, Mapping[str, Sequence[Sequence[str]]]] = {
    "damaged_item": {
        "en": (
            ("Hello!", "The {item} from {order} came in pieces", "no, too little", "fine, yes", "thank you, bye"),
            ("My {item} does not work, order {order}", "yes please"),
        ),
        "zh": (("你好，订单{order}的{item}收到就碎了", "不行，太少了", "好的，可以", "谢谢"), ("{order}的{item}坏了", "可以")),
    },
    "missing_parcel": {
        "en": (("My parcel never arrived. It is {order}", "yes, please trace it", "thanks"),),
        "zh": (("我的包裹好久了还没收到", "订单{order}", "好的"),),
    },
    "change_of_mind": {
        "en": (("I want to return the {item}, I do not like it. Order {order}", "yes", "ok bye"),),
        "zh": (("{item}不喜欢，想退货，订单号{order}", "好的", "谢谢"),),
    },
    "cancel_order": {
        "en": (("Cancel my order please", "{order}", "no"),),
        "zh": (("我想取消订单{order}", "算了，不取消了"),),
    },
    "coupon_request": {
        "en": (("Could I have a coupon?", "ok, that is fine", "thanks"),),
        "zh": (("在吗", "我想要一张优惠券", "可以的", "谢谢"),),
    },
    "order_status": {
        "en": (("Where is my order {order}?", "ok thanks"), ("hi", "when will {order} come?", "and the {item}?", "thank you")),
        "zh": (("{order}到哪里了？", "好的谢谢"),),
    },
    "refund_status": {
        "en": (("When does the refund for {order} arrive?", "ok"),),
        "zh": (("退款什么时候到账？订单号{order}", "知道了"),),
    },
    "seller_qualification": {
        "en": (("How do I become a seller here?", "my seller account is {seller}", "yes please send it"),),
        "zh": (("我想开店入驻", "商家号{seller}", "好的"),),
    },
    "human_request": {
        "en": (("Can I talk to a person?", "thanks"),),
        "zh": (("我要找人工客服", "好的"),),
    },
    "small_talk": {
        "en": (("Hello!", "thank you, bye"),),
        "zh": (("你好", "谢谢，再见"),),
    },
}


def every_visit(locales: Sequence[str] = ("en", "zh")) -> tuple[Visit, ...]:
    """Each script once for each customer of its language who can play it, in a fixed order."""
    sellers = {row["customer_id"]: row["id"] for row in _rows("sellers.csv")}
    orders: dict[str, list[Mapping[str, str]]] = {}
    for row in _rows("orders.csv"):
        orders.setdefault(row["customer_id"], []).append(row)
    found = []
    for customer in _rows("customers.csv"):
        locale = customer["locale"]
        if locale not in locales:
            continue
        for scenario, scripts in SCRIPTS.items():
            seller = sellers.get(customer["id"])
            if scenario == "seller_qualification" and seller is None:
                continue
            for number, script in enumerate(scripts[locale]):
                own = orders.get(customer["id"], [{"id": "KW-1042", "item": "mug set", "item_zh": "马克杯"}])
                order = own[number % len(own)]
                item = order["item_zh" if locale == "zh" else "item"]
                said = tuple(line.format(order=order["id"], item=item, seller=seller) for line in script)
                found.append(Visit(customer["id"], locale, scenario, said))
    return tuple(found)


def turns_a_visit(visits: Sequence[Visit]) -> float:
    """Messages of an average visit when every visit is as likely."""
    return sum(len(visit.messages) for visit in visits) / len(visits)


def chosen(visits: Sequence[Visit], rng: random.Random) -> Iterator[Visit]:
    """Visits at random, without end."""
    while True:
        yield rng.choice(visits)


def _rows(name: str) -> list[dict[str, str]]:
    with (SEEDS / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))
