"""A message that asks for several things: what the facts at hand answer is answered, a person is called, the rest is noted."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest

from agents.domain.events import HandoffRaised
from agents.domain.words import Act
from agents.packs.loader import load_pack
from agents.reply.sentences import split
from serving.embedded import EmbeddedDesk, Reply
from serving.scripted import ScriptedModel, TableRetriever
from tests.fakes import SetClock

WHERE, LATE, REFUND, PERSON, AGAIN = (
    "Where is my order?",
    "KW-1058 is late!",
    "And my refund?",
    "I want a human.",
    "A human, please!",
)
ASKS = {
    WHERE: "order_status",
    LATE: "missing_parcel",
    REFUND: "refund_status",
    PERSON: "human_request",
    AGAIN: "human_request",
    "Give me a coupon!": "coupon_request",
    "No trace!": "missing_parcel",
    "KW-1042 is late!": "missing_parcel",
    "KW-1043 is late!": "missing_parcel",
}
Say = Callable[..., Awaitable[Reply]]


@pytest.fixture
async def say(tmp_path: Path) -> AsyncGenerator[Say, None]:
    """Says some of `ASKS` in one message; the first is the main request."""
    pack = load_pack("shop")
    table = {sentence.rstrip("?!."): (scenario, Act.ASKS) for sentence, scenario in ASKS.items()}
    retriever = TableRetriever(pack, table)
    async with EmbeddedDesk.open(
        pack, model=ScriptedModel([]), data_dir=tmp_path, retriever=retriever, clock=SetClock()
    ) as desk:
        for customer_id in ("C-008", "C-001"):
            await desk.start_session(customer_id, session_id=customer_id, locale="en")

        async def said(*sentences: str, customer_id: str = "C-008") -> Reply:
            text = " ".join(sentences)
            table[text] = (ASKS[sentences[0]], Act.REJECTS if sentences[0].startswith("No") else Act.ASKS)
            return await desk.say(customer_id, text)

        yield said


async def test_a_question_the_facts_at_hand_answer_is_answered_before_the_offer(say: Say) -> None:
    reply = await say(LATE, WHERE)
    told = split(reply.text)
    assert told[0] == "Order KW-1058 (hiking socks) is on its way."
    assert "5 days late" in told[1]
    assert "start a trace" in reply.text[reply.text.index(told[2]) :]
    assert "other request" not in reply.text
    assert reply.open_offer is not None
    assert (await say("Give me a coupon!", REFUND)).text.count("other request") == 1  # its facts are not at hand


async def test_a_question_about_an_order_that_is_not_found_is_not_noted_for_later(say: Say) -> None:
    reply = await say("KW-1042 is late!", WHERE)
    assert "cannot find that number" in reply.text
    assert "other request" not in reply.text


async def test_nothing_is_told_twice(say: Say) -> None:
    await say(LATE)
    declined = await say("No trace!", LATE, WHERE)
    in_time = await say("KW-1043 is late!", WHERE, customer_id="C-001")  # no offer: both requests tell where it is
    assert in_time.open_offer is None
    for reply in (declined, in_time):
        assert len(split(reply.text)) == len(set(split(reply.text)))


async def test_what_may_end_in_an_action_is_noted_for_later(say: Say) -> None:
    reply = await say(LATE, "Give me a coupon!")
    assert "other request as well: Coupon or discount" in reply.text


async def test_who_also_asks_for_a_person_gets_one_and_one_promise(say: Say) -> None:
    reply = await say(LATE, PERSON)
    assert reply.text.count("hand this over") == 1
    assert sum(isinstance(stored.event, HandoffRaised) for stored in reply.events) == 1
    again = await say(LATE, AGAIN)
    assert again.text.count("hand this over") == 1
    assert not any(isinstance(stored.event, HandoffRaised) for stored in again.events)
