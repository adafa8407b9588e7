"""Events as they cross HTTP: JSON values and server-sent event frames."""

import msgspec

from agents.domain.events import StoredEvent
from serving.http.schemas import EventOut
from serving.stores.codec import event_fields

ENDS = frozenset({"turn.done", "error"})
HEARTBEAT = b": still here\n\n"


def event_out(stored: StoredEvent) -> EventOut:
    fields = event_fields(stored.event)
    return EventOut(id=stored.seq, event=fields.pop("type"), at=stored.at, data=fields)


def frame(stored: StoredEvent) -> bytes:
    """One server-sent event: id, event, data on one line."""
    fields = event_fields(stored.event)
    name = fields.pop("type")
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (stored.seq, name.encode(), msgspec.json.encode(fields))
