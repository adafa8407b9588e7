"""Events as they cross HTTP: JSON values and server-sent event frames."""

import msgspec

from agents.domain.events import StoredEvent
from serving.http.schemas import EventOut
from serving.stores.codec import event_fields

ENDS = frozenset({"turn.done", "error"})
HEARTBEAT = b": still here\n\n"
MOVED_RETRY_MS = 200


def event_out(stored: StoredEvent) -> EventOut:
    fields = event_fields(stored.event)
    return EventOut(id=stored.seq, event=fields.pop("type"), at=stored.at, data=fields)


def moved(last_event_id: int) -> bytes:
    """The last frame of a stream that goes on elsewhere. Browsers ask again by themselves, after `retry` milliseconds."""
    data = msgspec.json.encode({"last_event_id": last_event_id}).decode()
    return f"retry: {MOVED_RETRY_MS}\nid: {last_event_id}\nevent: stream.moved\ndata: {data}\n\n".encode()


def frame(stored: StoredEvent) -> bytes:
    """One server-sent event: id, event, data on one line."""
    fields = event_fields(stored.event)
    name = fields.pop("type")
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (stored.seq, name.encode(), msgspec.json.encode(fields))
