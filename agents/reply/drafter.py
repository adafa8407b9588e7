"""The reply agent: drafts from the points, verifies each sentence before it leaves; the points' own wording completes it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

from agents.domain.brownout import Brownout
from agents.domain.errors import ModelFailure, Overloaded
from agents.domain.pack import Pack
from agents.ports import Message, Model, ModelRequest, ModelResult
from agents.prefix import system_message
from agents.reply.sentences import SentenceSplitter
from agents.reply.verifier import Evidence, covers, objection
from agents.stages import stage, staged

LANGUAGES = {"en": "English", "zh": "Simplified Chinese (简体中文)"}
UNDERSTANDING = {
    "en": (
        (
            "the headphones you sent are dead on one side, KW-2210",
            "I'm sorry to hear that your headphones are half dead.",
        ),
        ("still no sign of my lamp, it's been ages!!", "I'm sorry that you are still waiting for your lamp."),
        ("hi, could I get some discount", "Thank you for asking us about a discount."),
        ("changed my mind about the jacket", "I understand that you have changed your mind about the jacket."),
    ),
    "zh": (
        ("耳机一边没声音，KW-2210", "非常抱歉，您的耳机有一边没有声音。"),
        ("台灯怎么还没到啊都多久了", "很抱歉，让您等台灯等了这么久。"),
        ("能便宜点吗有没有券", "感谢您来咨询优惠券的事。"),
        ("外套我不想要了", "理解您不想要这件外套了。"),
    ),
}
"""What a sentence of understanding looks like, shown to a small model as earlier turns: it would copy them from a list."""

COURTESY_TASK = (
    "You answer each customer with one short, kind sentence that repeats what happened to them, without promising anything, in"
)
"""Its own prefix, without the scenarios: a small model that reads rules about promises only apologises."""


@dataclass(frozen=True, slots=True)
class ReplyStyle:
    """How much the model writes. A small model says one sentence of understanding and the points' own wording follows;
    a large one phrases the points too."""

    max_sentences: int = 1
    max_tokens: int = 36
    max_customer_chars: int = 400

    def shorter(self) -> "ReplyStyle":
        """About half as much, and still a sentence."""
        return replace(self, max_sentences=max(1, self.max_sentences // 2), max_tokens=max(24, self.max_tokens // 2))


@dataclass(frozen=True, slots=True)
class Said:
    """One verified sentence for the customer."""

    text: str
    source: Literal["model", "pack"]


@dataclass
class DraftReport:
    """What drafting cost and what the verifier objected to."""

    results: list[ModelResult]
    calls: int
    objections: list[str]


class ReplyAgent:
    def __init__(self, pack: Pack, model: Model, style: ReplyStyle | None = None) -> None:
        self._pack = pack
        self._model = model
        self._style = style or ReplyStyle()

    async def reply(
        self,
        evidence: Evidence,
        report: DraftReport,
        *,
        session_id: str,
        deadline_s: float,
        level: Brownout = Brownout.NORMAL,
        calls: int = 0,
    ) -> AsyncGenerator[Said, None]:
        """Verified sentences in order; every point is said, by the model or in its own wording. Never raises ModelFailure.
        `calls` is how many the turn took before: at a high `level`, or with no time left, nothing is drafted."""
        spoken: list[str] = []
        if deadline_s > 0 and (level < Brownout.ONE_CALL or (level is Brownout.ONE_CALL and calls == 0)):
            style = self._style.shorter() if level is not Brownout.NORMAL else self._style
            try:
                drafting = staged("draft", self._draft(evidence, report, session_id, deadline_s, style))
                async with aclosing(drafting) as draft:
                    async for sentence in within(draft, deadline_s):
                        with stage("verify"):
                            reason = objection(sentence, evidence)
                        if reason is None:
                            spoken.append(sentence)
                            yield Said(sentence, "model")
                        else:
                            report.objections.append(f"{reason}: {sentence}")
            except (ModelFailure, Overloaded, TimeoutError) as error:
                report.objections.append(f"draft ended: {type(error).__name__}")
        for point in evidence.points:
            if not covers(spoken, point):
                yield Said(point, "pack")

    async def _draft(
        self, evidence: Evidence, report: DraftReport, session_id: str, deadline_s: float, style: ReplyStyle
    ) -> AsyncGenerator[str, None]:
        splitter, count = SentenceSplitter(), 0
        report.calls += 1
        async with aclosing(self._model.stream(self._request(evidence, session_id, deadline_s, style))) as chunks:
            async for chunk in chunks:
                if chunk.result is not None:
                    report.results.append(chunk.result)
                for sentence in splitter.feed(chunk.text):
                    count += 1
                    yield sentence
                    if count >= style.max_sentences:
                        return
        if report.results and report.results[-1].finish_reason == "stop" and splitter.rest.strip():
            yield splitter.rest.strip()

    def _request(self, evidence: Evidence, session_id: str, deadline_s: float, style: ReplyStyle) -> ModelRequest:
        language = LANGUAGES.get(evidence.locale, evidence.locale)
        customer = evidence.customer_text[: style.max_customer_chars]
        if style.max_sentences == 1:
            shown: list[Message] = [
                message
                for said, answer in UNDERSTANDING.get(evidence.locale, ())
                for message in (Message("user", said), Message("assistant", answer))
            ]
            messages = (Message("system", f"{COURTESY_TASK} {language}."), *shown, Message("user", customer))
        else:
            points = "\n".join(evidence.points)
            task = (
                f"Answer the customer in {language} in at most {style.max_sentences} sentences. "
                f"First show that you understood; then say exactly what these points say and nothing beyond:\n{points}\n"
                f"The customer wrote: {customer}"
            )
            messages = (system_message(self._pack), Message("user", task))
        return ModelRequest(messages, max_tokens=style.max_tokens, deadline_s=deadline_s, session_id=session_id)


async def within(sentences: AsyncGenerator[str, None], seconds: float) -> AsyncGenerator[str, None]:
    """`sentences` until the time is up; then raises TimeoutError. Only waiting for them is cut short: a timeout around the
    yields would cancel whoever takes the sentences, while they do."""
    ends = asyncio.get_running_loop().time() + seconds
    while True:
        async with asyncio.timeout_at(ends):
            sentence = await anext(sentences, None)
        if sentence is None:
            return
        yield sentence
