"""A yes is a yes by its words alone."""

import pytest

from agents.planning.consent import plain_yes, qualified

YES = """yes|Yes please!|OK|okay, do it|sure, go ahead|YES!!!|that's fine, thank you|I accept the offer
deal|好的|可以|行吧|同意，谢谢|没问题|好的，麻烦您了|嗯嗯|可以的，就这样吧|我同意|您办吧
yes I do|I'm fine with that|OK👌|ｙｅｓ"""
NOT_PLAIN = """yes but more|no|not ok|yes if you add a coupon|ok?|is that all you can do|yes, make it 10 EUR|okra
yesterday it came|不可以|可以吗|好的，但是再多一点|行不行|可以退款吗|对不起|好不好|我要退款|please|thank you|谢谢|yes 5|да|
你好|您好|对了|就是|是我|I'm good, thanks|I'm fine|you sure|oh great"""


@pytest.mark.parametrize("text", YES.replace("\n", "|").split("|"))
def test_a_plain_yes_is_one(text: str) -> None:
    assert plain_yes(text)


@pytest.mark.parametrize("text", NOT_PLAIN.replace("\n", "|").split("|"))
def test_what_says_anything_else_is_no_plain_yes(text: str) -> None:
    assert not plain_yes(text)


@pytest.mark.parametrize(
    "text",
    ["yes, but only if it comes today", "可以再多一点", "ok, what about 20?", "yes, can you add one more", "先不用"],
)
def test_a_condition_a_question_or_a_wish_qualifies(text: str) -> None:
    assert qualified(text)


@pytest.mark.parametrize("text", ["I am glad to take you up on this", "那太感谢了，照此办理"])
def test_a_willing_word_of_ones_own_does_not(text: str) -> None:
    assert not qualified(text)
