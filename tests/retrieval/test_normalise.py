import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.normalise import MAX_CHARS, normalise


@pytest.mark.parametrize("text", ["order KW-1042", "Order kw1042", "order ＫＷ－１０４２", "order #20391", "order kw_1042"])
def test_an_order_id_reads_the_same_in_every_spelling(text: str) -> None:
    assert normalise(text) == "order id"


def test_traditional_characters_become_simplified() -> None:
    assert normalise("訂單還沒到，請問貨運") == normalise("订单还没到，请问货运")


def test_links_and_addresses_become_one_word_each() -> None:
    assert normalise("see https://a.example/x?y=1 or write to me@a.example") == "see link or write to email"


def test_stretched_letters_are_cut_to_three() -> None:
    assert normalise("soooooooo bad!!!!!!!!") == "sooo bad!!!"


def test_a_very_long_message_keeps_its_beginning_and_its_end() -> None:
    clean = normalise("refund please " + "blah " * 5000 + " my lamp broke")
    assert len(clean) <= MAX_CHARS
    assert clean.startswith("refund please")
    assert clean.endswith("my lamp broke")


@given(st.text())
def test_any_text_is_normalised_and_normalising_adds_no_line(text: str) -> None:
    assert "\n" not in normalise(text)


def test_numbers_stay_when_not_masked() -> None:
    assert normalise("KW-1042 for 12.50", mask=False) == "kw-1042 for 12.50"
