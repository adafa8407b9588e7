"""What crosses the boundary between the engine's replica and its callers: results, chunks, and failures as values.

A failure is sent as a value, not raised: what a remote exception becomes on the way is the transport's business, and
anything that does arrive as an exception is therefore the transport's own.
"""

from dataclasses import dataclass

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
