"""A pack of another trade, in a folder of its own: the same code serves a bank, its rules and its words."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from agents.domain.words import Act, ActionStatus, Proposal, Ruling
from agents.packs.loader import load_pack
from serving.embedded import EmbeddedDesk
from serving.scripted import ScriptedModel, TableRetriever

BANK = Path(__file__).parent / "bank"
YES = "yes please"


def asked(scenario: str, text: str) -> tuple[str, tuple[str, Act]]:
    return text, (scenario, Act.ASKS)


SAID = dict(
    [
        asked("fee", "fee F-101 is wrong"),
        asked("fee", "and fee F-102"),
        asked("fee", "and fee F-103"),
        asked("fee", "my interest, F-104"),
        asked("fee", "the fee F-201"),
        asked("card_lost", "my card 4410 is gone"),
        asked("card_lost", "我的卡4410丢了"),
        asked("dispute", "P-2001 was not me"),
        asked("dispute", "P-2002 was not me"),
        asked("dispute", "P-2003 was not me"),
    ]
)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[EmbeddedDesk, None]:
    pack = load_pack(BANK, thorough=True)
    async with EmbeddedDesk.open(
        pack, model=ScriptedModel([]), data_dir=tmp_path, retriever=TableRetriever(pack, SAID)
    ) as opened:
        yield opened


async def settled(desk: EmbeddedDesk, session_id: str, text: str) -> list[ActionStatus]:
    """Say it, say yes to what is offered, and see what was done."""
    await desk.say(session_id, text)
    return [record.status for record in (await desk.say(session_id, YES)).actions]


async def test_a_fee_is_paid_back_twice_a_year_and_no_more(desk: EmbeddedDesk) -> None:
    session_id = await desk.start_session("B-1")
    assert await settled(desk, session_id, "fee F-101 is wrong") == [ActionStatus.DONE]
    assert await settled(desk, session_id, "and fee F-102") == [ActionStatus.DONE]
    refused = await desk.say(session_id, "and fee F-103")
    assert refused.open_offer is None
    assert "At most two fees" in refused.text


@pytest.mark.parametrize(
    ("customer", "text", "why"),
    [
        ("B-1", "my interest, F-104", "A fee of up to 15.00 EUR"),
        ("B-2", "the fee F-201", "in good standing"),
        ("B-2", "fee F-101 is wrong", "cannot find that"),
        ("B-1", "P-2002 was not me", "within 56 days"),
        ("B-1", "P-2003 was not me", "without the PIN"),
    ],
)
async def test_what_the_rules_do_not_allow_is_told_with_the_rule(
    desk: EmbeddedDesk, customer: str, text: str, why: str
) -> None:
    session_id = await desk.start_session(customer)
    reply = await desk.say(session_id, text)
    assert reply.open_offer is None
    assert why in reply.text


async def test_a_lost_card_is_blocked_once_in_either_language(desk: EmbeddedDesk) -> None:
    session_id = await desk.start_session("B-1", locale="zh")
    offered = await desk.say(session_id, "我的卡4410丢了")
    assert "永久冻结您的卡4410" in offered.text
    assert [record.status for record in (await desk.say(session_id, "好的")).actions] == [ActionStatus.DONE]
    assert (await desk.say(session_id, "我的卡4410丢了")).open_offer is None


async def test_a_market_of_the_bank_has_its_own_time_limit(desk: EmbeddedDesk) -> None:
    session_id = await desk.start_session("B-1", market="at")
    assert await settled(desk, session_id, "P-2002 was not me") == [ActionStatus.DONE]


async def test_a_foreign_agent_may_ask_for_a_verdict(desk: EmbeddedDesk) -> None:
    facts = {
        "account": {"id": "A-1", "customer_id": "B-1", "in_good_standing": True},
        "payment": {
            "id": "P-2001",
            "merchant": "x",
            "amount_cents": 8000,
            "days_ago": 10,
            "with_pin": False,
            "disputed": False,
        },
    }
    for payment_id, amount, ruling in (
        ("P-2001", 8000, Ruling.ALLOW),
        ("P-2001", 9000, Ruling.DENY),
        ("P-2002", 8000, Ruling.DENY),
    ):
        proposal = Proposal("credit_disputed", {"payment_id": payment_id, "amount_cents": amount})
        assert desk.judge(proposal, scenario="dispute", facts=facts, confirmed=True).ruling is ruling
