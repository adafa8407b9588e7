"""Slots hold only what the customer wrote, however oddly."""

import pytest

from agents.domain.words import Slot
from agents.planning.grounding import candidates, extract, normalise, ungrounded

ORDER = Slot("order_id", r"(?i)(?:KW[-_ ]?|订单号?\s*|#)(?P<digits>\d{4})", "KW-{digits}", {"en": "Which?"})


@pytest.mark.parametrize(
    "text",
    ["KW-1042", "kw1042", "ＫＷ－１０４２", "订单号一零四二", "订单1042", "#1042", "订单 1 0 4 2", "#1042, yes #1042"],
)
def test_odd_forms_of_an_id_give_one_normalised_value(text: str) -> None:
    assert candidates(text, ORDER) == ("KW-1042",)


def test_a_message_without_an_id_gives_no_slot() -> None:
    assert extract("where is my parcel? it cost 7.47", [ORDER]) == {}


def test_two_ids_are_both_kept_in_order() -> None:
    assert candidates("KW-2000 and KW-1000", ORDER) == ("KW-2000", "KW-1000")


def test_ordinary_chinese_words_with_one_digit_stay_as_they_are() -> None:
    assert normalise("一点也不好,等了两三天") == "一点也不好,等了两三天"


def test_a_value_that_occurs_in_no_line_is_ungrounded() -> None:
    definitions = {"order_id": ORDER}
    assert ungrounded({"order_id": "KW-1042"}, ["hello", "it is kw1042"], definitions) == ()
    assert ungrounded({"order_id": "KW-9999"}, ["hello", "it is kw1042"], definitions) == ("order_id",)
