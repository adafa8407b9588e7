"""The real embedder, once a run, and a small bilingual set of customer messages."""

import pytest

from retrieval.embedding import Embedder, make_embedder
from retrieval.passages import Passage

MESSAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "damaged": (
        ("en", "the mug arrived in pieces"),
        ("en", "my vase came broken, it is cracked all over"),
        ("en", "the screen has a crack right out of the box"),
        ("en", "this lamp is damaged, the glass shattered"),
        ("en", "two plates were smashed when I opened the parcel"),
        ("zh", "杯子收到的时候已经碎了"),
        ("zh", "花瓶裂了，到货就是坏的"),
        ("zh", "打开包裹发现盘子摔碎了两个"),
        ("zh", "屏幕有裂痕，东西是坏的"),
        ("zh", "台灯破损，玻璃都碎了"),
    ),
    "missing": (
        ("en", "where is my parcel, it never came"),
        ("en", "tracking says delivered but I got nothing"),
        ("en", "the package has been stuck for two weeks"),
        ("en", "my delivery is late, still not here"),
        ("en", "courier lost my shipment I think"),
        ("zh", "我的包裹到现在还没收到"),
        ("zh", "物流显示已签收，可是我没拿到快递"),
        ("zh", "快递两个星期都没动了"),
        ("zh", "怎么还不送货，太慢了"),
        ("zh", "快递是不是丢件了"),
    ),
    "coupon": (
        ("en", "the discount code does not work at checkout"),
        ("en", "can I get a voucher for my next order"),
        ("en", "my coupon says expired"),
        ("en", "do you have any promo code for new customers"),
        ("en", "how do I use this gift coupon"),
        ("zh", "优惠券用不了"),
        ("zh", "能给我一张优惠券吗"),
        ("zh", "我的券显示过期了"),
        ("zh", "新用户有没有折扣码"),
        ("zh", "这个代金券怎么用"),
    ),
}


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return make_embedder()


@pytest.fixture(scope="session")
def messages() -> tuple[Passage, ...]:
    return tuple(
        Passage(f"{label}/{at}", text, locale, "exemplar", {"scenario": label}, embed_as="query")
        for label, rows in MESSAGES.items()
        for at, (locale, text) in enumerate(rows)
    )
