"""What the routes need of a model behind them: one call in, a head and then bytes out, ready to be sent as they are."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from serving.admission.keys import HOUSE
from serving.admission.tickets import Caller

Operation = Literal["chat", "completion"]
JSON: Final = "application/json"
SSE: Final = "text/event-stream"
DONE: Final = b"data: [DONE]\n\n"
RAW_DEADLINE_S: Final = 600.0  # a raw generation may fill the model's whole window


@dataclass(frozen=True, slots=True)
class Call:
    """A validated request. `body` holds OpenAI's own field names, only those that were sent; `session_id` is for cache
    affinity; `deadline_s` bounds the whole answer; `caller` is who pays."""

    operation: Operation
    body: Mapping[str, Any]
    session_id: str | None = None
    deadline_s: float = RAW_DEADLINE_S
    caller: Caller = HOUSE

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))


@dataclass(frozen=True, slots=True)
class Head:
    """How an answer begins."""

    media_type: str


Part = Head | bytes


@dataclass(frozen=True, slots=True)
class Load:
    """Requests a model holds: those that came and have not ended, in its queue or in its batch."""

    unfinished: int


class RawModel(Protocol):
    """A model that answers OpenAI calls. The first part is a Head; errors before it are raised (KeepwordError), later ones are
    part of the stream, as OpenAI does it. Closing the generator frees the model's place at once."""

    def answer(self, call: Call) -> AsyncGenerator[Part, None]: ...

    async def load(self) -> Load:
        """What it holds now, once it has dealt with everything that was sent to it before."""
        ...
