"""Which session a conversation is. An OpenAI client sends the whole history each time; the desk believes its own log only.

Every turn taken this way keeps, as its idempotency key, the keyed digest of the request it answered. The request before this
one is this one without its last two messages, so its digest names the sessions that may go on; the one whose log says word for
word what the client says is it. A history no log bears out is refused: nobody puts words into the desk's mouth.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agents.domain.errors import BadInput, KeepwordError
from agents.domain.events import ReplySentence, StoredEvent, TurnDone, TurnFailed, TurnStarted
from agents.domain.words import Locale
from serving.openai.port import text_of

TAKEN: Final = frozenset({"model", "messages", "stream", "stream_options", "metadata", "user", "n"})
METADATA: Final = frozenset({"customer_token", "session_token", "conversation", "locale"})


class HistoryUnknown(KeepwordError):
    """The history is none this desk has spoken."""

    type = "history-unknown"
    hint = "Send every message exactly as it was, or begin a new conversation with one user message."


@dataclass(frozen=True, slots=True)
class Asked:
    """A call in the desk's words: `lines` alternate customer and desk, and end with the customer's new message."""

    lines: tuple[str, ...]
    metadata: Mapping[str, str]
    streams: bool
    wants_usage: bool

    @property
    def text(self) -> str:
        return self.lines[-1]


def asked(body: Mapping[str, Any]) -> Asked:
    """Raises BadInput naming the parameter or message that the desk does not take."""
    for name in body:
        if name not in TAKEN or (name == "n" and body["n"] != 1):
            raise BadInput(f"the desk cannot follow {name}", field=name, hint="Policy decides what it says; leave it out.")
    metadata = body.get("metadata") or {}
    for name in metadata:
        if name not in METADATA:
            hint = f"Known: {', '.join(sorted(METADATA))}."
            raise BadInput(f"the desk knows no metadata {name!r}", field=f"metadata.{name}", hint=hint)
    lines = []
    for index, message in enumerate(body["messages"]):
        wanted = "user" if index % 2 == 0 else "assistant"
        if message["role"] != wanted or message.get("tool_calls"):
            hint = "A conversation alternates user and assistant, and begins and ends with user."
            problem = f"a {message['role']} message cannot stand here: the desk takes no instructions"
            raise BadInput(problem, field=f"messages[{index}].role", hint=hint)
        lines.append(text_of(message["content"]).strip())
    if len(lines) % 2 == 0:
        raise BadInput("the last message must be the user's", field=f"messages[{len(lines) - 1}].role")
    options = body.get("stream_options") or {}
    return Asked(tuple(lines), metadata, bool(body.get("stream")), bool(options.get("include_usage")))


def digest(secret: str, caller: str, whose: Mapping[str, str], lines: Sequence[str]) -> str:
    """Names a request. `whose`: customer, locale, the conversation's own name; different ones never meet."""
    payload = json.dumps([caller, sorted(whose.items()), list(lines)], ensure_ascii=False, separators=(",", ":"))
    return "openai:" + hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def spoken(events: Iterable[StoredEvent]) -> tuple[str, ...]:
    """What both sides said, as a client of this surface saw it. A turn under way adds the customer's message alone."""
    lines: list[str] = []
    reply: list[str] = []
    locale: Locale = "en"
    for stored in events:
        match stored.event:
            case TurnStarted() as turn:
                lines.append(turn.text.strip())
                locale, reply = turn.locale, []
            case ReplySentence(text=text):
                reply.append(piece(text, len(reply), locale))
            case TurnDone() | TurnFailed() as end:
                reply += [piece(text, len(reply), locale) for text in last_words(end, len(reply))]
                lines.append("".join(reply).strip())
            case _:
                pass
    return tuple(lines)


def piece(sentence: str, number: int, locale: Locale) -> str:
    """The `number`th sentence of a reply as a stream sends it: Chinese sets no space between sentences."""
    return sentence if number == 0 or locale == "zh" else f" {sentence}"


def last_words(end: TurnDone | TurnFailed, said: int) -> tuple[str, ...]:
    """What a turn's end still has to say: a failed one its message, a whole one nothing that was not said."""
    if isinstance(end, TurnFailed):
        return (end.message,)
    return () if said else (end.text,)
