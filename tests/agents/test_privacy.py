"""What has the form of personal data reaches neither a model nor a log."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.ports import Message, ModelRequest
from agents.privacy import MaskedModel, masked, masked_log
from serving.scripted import ScriptedModel

PERSONAL = [
    ("write to ada.lovelace+shop@mail.example.org please", "write to [email] please"),
    ("my IBAN is DE89 3704 0044 0532 0130 00.", "my IBAN is [iban]."),
    ("IBAN GB29NWBK60161331926819", "IBAN [iban]"),
    ("call +49 (30) 901820-0 or 0151 23456789", "call [number] or [number]"),
    ("card 4111 1111 1111 1111", "card [number]"),
    ("我的手机13812345678，身份证11010519491231002X", "我的手机[number]，身份证[number]"),
]


@pytest.mark.parametrize(("text", "expected"), PERSONAL)
def test_what_is_personal_is_masked(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "order KW-1042, 14 days, 12.50 EUR",
        "parcel CT07445768",
        "by 2026-12-01 10:30",
        "no12 came back late",
        "S-2009 and 60.00",
        "订单KW-1042",
    ],
)
def test_what_a_case_needs_stays(text: str) -> None:
    assert masked(text) == text


@given(st.text(max_size=200))
def test_masking_twice_is_masking_once(text: str) -> None:
    assert masked(masked(text)) == masked(text)


async def test_a_model_is_told_nothing_personal() -> None:
    inner = ScriptedModel(lambda request: "fine")
    messages = (Message("system", "call 0800 123456789"), Message("user", "I am ada@example.org"))
    await MaskedModel(inner).generate(ModelRequest(messages, 5))
    assert [message.content for message in inner.requests[0].messages] == ["call 0800 123456789", "I am [email]"]


def test_a_log_holds_nothing_personal_not_even_in_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    log = masked_log("keepword.test")
    try:
        raise ValueError("ada@example.org")
    except ValueError:
        log.exception("failed for %s", "13812345678")
    with caplog.at_level(logging.INFO):
        log.info("no arguments, 100 %")
    assert "[number]" in caplog.text
    assert "[email]" in caplog.text
    assert "example.org" not in caplog.text
    assert "13812345678" not in caplog.text
    assert "100 %" in caplog.text
