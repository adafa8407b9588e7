"""What crosses the boundary between the engine's replica and its callers: results, chunks, and failures as values.

A failure is sent as a value, not raised: what a remote exception becomes on the way is the transport's business, and
anything that does arrive as an exception is therefore the transport's own.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from agents.domain.errors import (
    BadInput,
    DeadlineExceeded,
    EmptyOutput,
    EngineUnavailable,
    InvalidOutput,
    KeepwordError,
    ModelFailure,
    TruncatedOutput,
)
from agents.ports import ModelChunk, ModelResult

_KINDS: dict[str, type[KeepwordError]] = {
    error.type: error
    for error in (ModelFailure, EmptyOutput, TruncatedOutput, InvalidOutput, DeadlineExceeded, EngineUnavailable)
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A KeepwordError as data. `field` is set for BadInput only."""

    type: str
    message: str
    hint: str = ""
    field: str = ""


Answer = ModelResult | Failure
Piece = ModelChunk | Failure
JOINED_MOST: Final = 16
"""Pieces in one item, where no sentence ends before: every item is a message between two processes."""
_END: Final = re.compile(r"[。！？\n]|[.!?][\"')\]]*\s")


async def joined(chunks: AsyncGenerator[ModelChunk, None]) -> AsyncGenerator[ModelChunk, None]:
    """The first piece at once, then what belongs to a sentence together: nobody hears less than a verified sentence."""
    held, first = "", True
    count = 0
    async with aclosing(chunks):
        try:
            async for chunk in chunks:
                held, count = held + chunk.text, count + 1
                if first or chunk.result is not None or count >= JOINED_MOST or _END.search(held):
                    yield replace(chunk, text=held)
                    held, count, first = "", 0, False
        except KeepwordError:
            if held:
                yield ModelChunk(held)
            raise


def to_wire(error: KeepwordError) -> Failure:
    return Failure(error.type, error.message, error.hint, error.field if isinstance(error, BadInput) else "")


def from_wire(failure: Failure) -> KeepwordError:
    """The error that was sent. One of a kind this side does not know is an EngineUnavailable that says so."""
    if failure.type == BadInput.type:
        return BadInput(failure.message, field=failure.field, hint=failure.hint or None)
    kind = _KINDS.get(failure.type)
    if kind is None:
        return EngineUnavailable(f"{failure.type}: {failure.message}", hint=failure.hint or None)
    return kind(failure.message, hint=failure.hint or None)
