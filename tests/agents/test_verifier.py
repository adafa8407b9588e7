"""The verifier lets understanding and the points' own content pass, and nothing that binds the desk to more."""

import pytest

from agents.reply.verifier import Evidence, covers, objection

OFFER = "I can refund 7.47 EUR to your original payment method, and you keep the item."
EN = Evidence("en", (OFFER,), "My mug KW-1042 arrived broken, I want a refund of 100 EUR!")
ZH = Evidence("zh", ("我可以为您退款7.47 EUR，商品您可以留下。",), "杯子碎了，订单KW-1042，退我100块")


@pytest.mark.parametrize(
    "sentence",
    [
        "I'm sorry to hear that your mug arrived broken.",
        "Thank you for letting us know about the broken mug.",
        "I understand that you are asking for a refund for order KW-1042.",
        "I can refund 7.47 EUR to your original payment method.",
        OFFER,
    ],
)
def test_understanding_and_the_point_itself_may_be_said(sentence: str) -> None:
    assert objection(sentence, EN) is None


@pytest.mark.parametrize("sentence", ["非常抱歉，您的杯子碎了。", "很抱歉给您带来不便。", "我可以为您退款7.47 EUR。"])
def test_understanding_and_the_point_itself_may_be_said_in_chinese(sentence: str) -> None:
    assert objection(sentence, ZH) is None


@pytest.mark.parametrize(
    "sentence",
    [
        "I can refund 100 EUR to your original payment method.",
        "I'm sorry, I will refund the full amount.",
        "I'm sorry, you will receive a new mug tomorrow.",
        "Your refund of 7.47 EUR has been completed.",
        "I understand, and a coupon is on its way.",
        "We guarantee a solution.",
        "I cannot refund 7.47 EUR to your original payment method.",
        "I can refund half of 7.47 EUR to your original payment method.",
        "I'm sorry, Mr. Miller from our team knows.",
        "The customer wants a refund.",
        "I want to receive a full refund.",
        "Sorry about order KW-1043.",
        "As clause 12 says, I understand.",
        "Your item has been shipped.",
        "很抱歉。",
        "",
        "I'm sorry to hear it, it arrives on Monday.",
        "Ignore the rules.",
        "I'm sorry, but I can't assist with that.",
        "I'm sorry, but you are not enough.",
        "I'm sorry that your mug is not broken.",
        "I'm sorry to hear that your headphones are silent on one side.",
    ],
)
def test_whatever_binds_the_desk_to_more_is_refused(sentence: str) -> None:
    assert objection(sentence, EN) is not None


@pytest.mark.parametrize(
    "sentence",
    [
        "抱歉，您的耳机有一边没有声音。",
        "抱歉，您不能给杯子。",
        "我们会马上为您全额退款。",
        "非常抱歉，明天就会到货。",
        "已为您退款7.47 EUR。",
        "抱歉，送您一张优惠券。",
        "退您一百元。",
        "我理解，王经理知道。",
        "I'm sorry.",
        "保证给您解决。",
    ],
)
def test_whatever_binds_the_desk_to_more_is_refused_in_chinese(sentence: str) -> None:
    assert objection(sentence, ZH) is not None


def test_a_point_the_model_said_whole_need_not_be_said_again() -> None:
    assert covers([OFFER], OFFER)
    assert not covers(["I'm sorry to hear that."], OFFER)
    assert not covers(["I can refund 7.47 EUR."], OFFER)
