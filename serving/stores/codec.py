"""Events and ledger lines as canonical JSON, and back."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from pydantic import Field, TypeAdapter

from agents.domain.events import Event
from agents.domain.words import ActionRecord

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])
_ACTION: TypeAdapter[ActionRecord] = TypeAdapter(ActionRecord)
_CANONICAL = msgspec.json.Encoder(order="sorted")
GENESIS = "0" * 64


def canonical(value: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no white space: the same value always gives the same text."""
    return _CANONICAL.encode(value).decode()


def event_fields(event: Event) -> dict[str, Any]:
    """An event as JSON values, `type` included."""
    fields: dict[str, Any] = _EVENT.dump_python(event, mode="json")
    return fields


def read_event(fields: Mapping[str, Any]) -> Event:
    return _EVENT.validate_python(dict(fields))


def chained(previous_hash: str, seq: int, at: str, body: str, personal_digest: str | None) -> str:
    """sha256 over the hash before, the place, the time, the body, and the digest of its personal data where it has some."""
    further = f"\n{personal_digest}" if personal_digest else ""
    return hashlib.sha256(f"{previous_hash}\n{seq}\n{at}\n{body}{further}".encode()).hexdigest()


def action_fields(record: ActionRecord) -> dict[str, Any]:
    fields: dict[str, Any] = _ACTION.dump_python(record, mode="json")
    return fields


def read_action(fields: Mapping[str, Any]) -> ActionRecord:
    return _ACTION.validate_python(dict(fields))
