"""The whole desk as the model `desk`: one chat completion is one turn, its sentences are the stream's deltas."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final, Protocol

from agents.domain.events import ReplySentence, StoredEvent, TurnDone, TurnFailed, TurnStarted
from agents.turn import AcceptedTurn
from serving.admission.tickets import Ticket
from serving.http.desk import ANONYMOUS, Desk
from serving.openai import conversation
from serving.openai.chunks import Chunks, token_usage
from serving.openai.contract import DONE, JSON, SSE, Call, Head, Part

DESK: Final = "desk"
HEARTBEAT: Final = b": still here\n\n"
End = TurnDone | TurnFailed


class DeskAnswers(Protocol):
    """The desk behind an OpenAI route: `answer` gives a Head and then bytes, like a raw model's."""

    def answer(self, call: Call) -> AsyncGenerator[Part, None]: ...


class DeskChat:
    """Implements `DeskAnswers`. `sessions_by_key` finds the sessions with a turn of that idempotency key, the newest first."""

    def __init__(self, desk: Desk, secret: str, sessions_by_key: Callable[[str], Awaitable[Sequence[str]]]) -> None:
        self._desk, self._secret, self._sessions_by_key = desk, secret, sessions_by_key

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        asked = conversation.asked(call.body)
        accepted = await self._accept(asked, call)
        chunks = Chunks(f"chatcmpl-{accepted.turn_id}", int(time.time()), DESK)
        parts = self._streamed(accepted, chunks, asked, call) if asked.streams else self._whole(accepted, chunks, call)
        async with aclosing(parts):
            async for part in parts:
                yield part

    async def _accept(self, asked: conversation.Asked, call: Call) -> AcceptedTurn:
        """Raises BadInput, NotAllowed for a bad token, HistoryUnknown, TurnInProgress, Overloaded."""
        caller = call.caller.tenant
        token = asked.metadata.get("session_token")
        if token is not None:
            session_id = self._desk.tokens.read("session", token).subject
            speaker, whose = await self._desk.visitor(session_id, token), {"session": session_id}
            # Alone, the same words may well be said twice; with its history, a message is itself.
            key = self._key(caller, whose, asked.lines) if len(asked.lines) > 1 else None
            return await self._start(session_id, asked, key, replace(call, caller=speaker))
        whose = self._whose(asked)
        key = self._key(caller, whose, asked.lines)
        session_id = await self._going_on(asked, caller, whose, key) or await self._new(asked, call)
        return await self._start(session_id, asked, key, call)

    def _whose(self, asked: conversation.Asked) -> dict[str, str]:
        token = asked.metadata.get("customer_token")
        customer = ANONYMOUS if token is None else self._desk.tokens.read("customer", token).subject
        return {
            "customer": customer,
            "locale": asked.metadata.get("locale", ""),
            "conversation": asked.metadata.get("conversation", ""),
        }

    async def _going_on(self, asked: conversation.Asked, caller: str, whose: dict[str, str], key: str) -> str | None:
        """The session this request continues, or repeats; None for a conversation that begins."""
        begins = len(asked.lines) == 1
        if begins and not whose["conversation"]:
            return None
        for session_id in await self._sessions_by_key(key):
            if self._was_said(await self._desk.store.events(session_id), asked.lines):
                return session_id  # this very request once more: the turn is replayed, not taken again
        if begins:
            return None
        for session_id in await self._sessions_by_key(self._key(caller, whose, asked.lines[:-2])):
            if conversation.spoken(await self._desk.store.events(session_id)) == asked.lines[:-1]:
                return session_id
        raise conversation.HistoryUnknown("this desk has not spoken this history")

    @staticmethod
    def _was_said(events: Sequence[StoredEvent], lines: Sequence[str]) -> bool:
        return conversation.spoken(events)[: len(lines)] == tuple(lines)

    def _key(self, caller: str, whose: dict[str, str], lines: Sequence[str]) -> str:
        return conversation.digest(self._secret, caller, whose, lines)

    async def _new(self, asked: conversation.Asked, call: Call) -> str:
        opened = await self._desk.open_session(
            customer_token=asked.metadata.get("customer_token"),
            locale=asked.metadata.get("locale"),
            context={"through": "openai"},
            caller=call.caller,
        )
        return opened.session_id

    async def _start(self, session_id: str, asked: conversation.Asked, key: str | None, call: Call) -> AcceptedTurn:
        locale, ticket = asked.metadata.get("locale"), Ticket.of(call.caller, deadline_s=call.deadline_s)
        return await self._desk.start(session_id, asked.text, locale=locale, idempotency_key=key, ticket=ticket)

    async def _whole(self, accepted: AcceptedTurn, chunks: Chunks, call: Call) -> AsyncGenerator[Part, None]:
        text = ""
        async with aclosing(self._pieces(accepted)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    text += piece
                elif piece is not None:
                    message = {"role": "assistant", "content": text, "refusal": None}
                    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
                    yield Head(JSON)
                    yield chunks.answer([choice], _usage(piece), keepword=self._about(accepted, piece, call))

    async def _streamed(
        self, accepted: AcceptedTurn, chunks: Chunks, asked: conversation.Asked, call: Call
    ) -> AsyncGenerator[Part, None]:
        yield Head(SSE)
        async with aclosing(self._pieces(accepted)) as pieces:
            async for piece in pieces:
                if piece is None:
                    yield HEARTBEAT
                elif isinstance(piece, str):
                    yield chunks.text(0, piece)
                else:
                    yield chunks.end(0, "stop", keepword=self._about(accepted, piece, call))
                    yield (chunks.usage(_usage(piece)) if asked.wants_usage else b"") + DONE

    async def _pieces(self, accepted: AcceptedTurn) -> AsyncGenerator[str | End | None, None]:
        """The reply piece by piece, then the turn's end; None now and then while nothing comes."""
        locale, said = "en", 0
        async with aclosing(self._desk.store.follow(accepted.session_id, after_seq=accepted.after_seq)) as events:
            async for stored in events:
                event = None if stored is None else stored.event
                if event is None:
                    yield None
                elif isinstance(event, TurnStarted):
                    locale = event.locale
                elif isinstance(event, ReplySentence):
                    yield conversation.piece(event.text, said, locale)
                    said += 1
                elif isinstance(event, TurnDone | TurnFailed):
                    for text in conversation.last_words(event, said):
                        yield conversation.piece(text, said, locale)
                    yield event
                    return

    def _about(self, accepted: AcceptedTurn, end: End, call: Call) -> dict[str, object]:
        """What OpenAI has no field for. With the token, a client may go on by `metadata.session_token`."""
        return {
            "session_id": accepted.session_id,
            "session_token": self._desk.tokens.make(
                "session", accepted.session_id, tenant=call.caller.tenant, key=call.caller.key_id
            ),
            "turn_id": accepted.turn_id,
            "outcome": end.error if isinstance(end, TurnFailed) else "done",
            "clause_ids": [] if isinstance(end, TurnFailed) else list(end.clause_ids),
        }


def _usage(end: End) -> dict[str, object]:
    usage = end.usage if isinstance(end, TurnDone) else {}
    return token_usage(usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0), usage.get("cached_tokens", 0))
