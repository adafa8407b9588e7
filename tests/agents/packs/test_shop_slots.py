"""Order and seller numbers, however customers write them; and everything that only looks like one."""

import pytest

from agents.packs.catalogue import read_slots
from agents.packs.loader import find_pack
from agents.packs.reading import Mistakes, TomlFile
from agents.planning.grounding import candidates

ROOT = find_pack("shop")
SLOTS = read_slots(TomlFile(ROOT / "scenarios.toml", Mistakes(ROOT)), ("en", "zh"))
ORDER, SELLER = SLOTS["order_id"], SLOTS["seller_id"]


@pytest.mark.parametrize(
    "text",
    [
        *("KW-1042", "kw1042", "KW 1042", "kw_1042", "kw - 1042", "K.W. 1042", "KW#1042", "KW–1042", "KW‑1042", "kw-1042!!!"),
        *("#1042", "Order #1042", "order no. 1042", "order: 1042", "Order Nr. 1042", "order number is 1042", "my order (1042)"),
        *("order number: KW 1042", "order 1042 was 2 days late", "order 1042 and it cost 24.90", "order no 1 0 4 2"),
        *("1042", "1042.", "it's 1042", "yes, 1042", "1042 please", "the number is 1042", "sorry it is kw 1042"),
        *(
            "ＫＷ－１０４２",
            "订单号1042",
            "订单号：1042",
            "订单号是1042",
            "订单 #1042",
            "订单「KW-1042」",
            "单号1042",
            "订单一零四二",
        ),
        *("1042号订单", "1042那单", "1042这个订单", "是1042", "好的，1042", "KW-1042的杯子碎了", "我的订单号码是1042，谢谢"),
    ],
)
def test_every_way_to_write_an_order_number_gives_the_same_one(text: str) -> None:
    assert candidates(text, ORDER) == ("KW-1042",)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "7.47",
            "it cost 7.47",
            "50 euros",
            "1042 euros",
            "1042.50",
            "€1042",
            "order of 1500 euros",
            "order 1500€",
            "I paid 1042",
        ),
        *("满100减20", "订单满1000减100", "退我1000元", "订单1000元", "订单金额1042元", "200块", "order total 1299.00"),
        *("2026", "2026-11-23", "in 2026", "I ordered it in 2025", "my 2025 order", "order 2025-11-02", "order 2025/11/02"),
        *("2025年的订单", "下单2025年", "订单2025年11月的", "valid till 2027", "at 1430", "KW 47", "100 days"),
        *("call me at 0151 23456789", "+49 1512 3456789", "my phone is 13812345678", "手机号13812345678", "zip 10115 Berlin"),
        *("tracking number 123456", "快递单号73001234", "运单号123456", "物流单号 123456", "NT07437137", "S-2001", "room 1204"),
    ],
)
def test_prices_dates_and_other_numbers_are_no_order_numbers(text: str) -> None:
    assert candidates(text, ORDER) == ()


def test_two_order_numbers_in_one_message_are_both_found() -> None:
    assert candidates("KW-1042 and #1077", ORDER) == ("KW-1042", "KW-1077")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "S-2001",
            "s2001",
            "S 2001",
            "S_2001",
            "2001",
            "seller id 2001",
            "seller number: s 2001",
            "my seller account is S-2001",
        ),
        *("Ｓ－２００１", "卖家号2001", "商家编号S2001", "商家编号是2001", "店铺2001"),
    ],
)
def test_every_way_to_write_a_seller_number_gives_the_same_one(text: str) -> None:
    assert candidates(text, SELLER) == ("S-2001",)


@pytest.mark.parametrize(
    "text",
    [
        *("it's 2001", "KW-2001", "in 2025", "shop 2000 euros", "that's 2001 ones", "deposit 5000"),
        *("保证金2000元", "galaxys 2021"),
    ],
)
def test_other_numbers_are_no_seller_numbers(text: str) -> None:
    assert candidates(text, SELLER) == ()


@pytest.mark.timeout(30)  # a pattern that backtracks over gaps would need hours
@pytest.mark.parametrize(
    "piece", [" ", "order ", "it is ", "KW-", "#", "订单", "1042 ", "的", "s-", "seller ", "yes 1042 please "]
)
def test_a_message_made_to_be_slow_is_matched_like_any_other(piece: str) -> None:
    for slot in SLOTS.values():
        assert len(candidates("order" + piece * 20_000 + "x", slot)) <= 1
