"""Who calls, how long they wait, and admission for the raw model. The one place where API keys meet the OpenAI routes."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from fastapi import Depends, Request

from serving.admission.admission import Admission
from serving.admission.keys import ApiKeys
from serving.admission.tickets import Caller, Scope, Ticket, weighed
from serving.http.callers import deadline_s, needs
from serving.openai.contract import RAW_DEADLINE_S, Call, Load, Part, RawModel
from serving.settings import Settings

CHARS_A_TOKEN: Final = 4
USUAL_COMPLETION_TOKENS: Final = 256
DEADLINE_HEADERS: Final = ("keepword-deadline-ms", "x-request-timeout")

ChatCaller = Annotated[Caller, Depends(needs(Scope.CHAT))]


async def raw_deadline_s(request: Request) -> float:
    """The client's own deadline, or what a raw generation may take: a whole window is longer than any turn."""
    return await deadline_s(request) if any(name in request.headers for name in DEADLINE_HEADERS) else RAW_DEADLINE_S


RawDeadline = Annotated[float, Depends(raw_deadline_s)]


@dataclass(frozen=True, slots=True)
class Door:
    """What a replica needs to let callers in: it stands where an app's desk stands, for `serving/http/callers.py`."""

    settings: Settings
    keys: ApiKeys
    admission: Admission


class AdmittedModel:
    """A raw model behind admission. Its bytes pass unread, so a generation is charged an estimate."""

    def __init__(self, raw: RawModel, admission: Admission) -> None:
        self._raw, self._admission = raw, admission

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        """Raises Overloaded when it cannot be answered in time. Closing it while it waits gives up its place."""
        prompt, completion = estimated(call.body)
        tokens = weighed(prompt=prompt, completion=completion)
        ticket = Ticket.of(call.caller, deadline_s=call.deadline_s, tokens=tokens, target_s=call.deadline_s)
        async with (
            self._admission.admitted(ticket) as permit,
            aclosing(self._raw.answer(replace(call, deadline_s=permit.remaining_s()))) as parts,
        ):
            async for part in parts:
                yield part
            permit.spend(prompt=prompt, completion=completion)

    async def load(self) -> Load:
        return await self._raw.load()


def estimated(body: Mapping[str, Any]) -> tuple[int, int]:
    """(prompt, completion) tokens a call is likely to use. A limit is no forecast: clients set it high and stop early."""
    said = body.get("prompt") or "".join(str(message.get("content") or "") for message in body.get("messages", ()))
    most = body.get("max_completion_tokens") or body.get("max_tokens") or USUAL_COMPLETION_TOKENS
    return len(str(said)) // CHARS_A_TOKEN, min(most, USUAL_COMPLETION_TOKENS) * (body.get("n") or 1)
