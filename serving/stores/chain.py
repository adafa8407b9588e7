"""Events made ready to be written: canonical body, personal data beside it, hash chain, signatures, and their rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.domain.events import Event, HandoffRaised, StoredEvent, TurnStarted
from agents.ports import Clock
from serving.stores.codec import GENESIS, canonical, chained, event_fields
from serving.stores.personal import salted, split
from serving.stores.signing import Signer, event_text, head_text

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Links:
    """New events of one session and their rows by table; `turns` and `handoffs` make events findable without reading every
    session."""

    stored: tuple[StoredEvent, ...]
    head: Row
    events: list[Row] = field(default_factory=list)
    personal: list[Row] = field(default_factory=list)
    turns: list[Row] = field(default_factory=list)
    handoffs: list[Row] = field(default_factory=list)


def link(session_id: str, events: Sequence[Event], *, seq: int, before: str, clock: Clock, signer: Signer) -> Links:
    """Hang `events` on event number `seq` with the hash `before` (0 and GENESIS for a new session). They are stored together,
    and the last one's signature, being over a hash of all before it, is the others' too."""
    before = before or GENESIS
    stored: list[StoredEvent] = []
    rows, beside = list[Row](), list[Row]()
    for seq, event in enumerate(events, seq + 1):  # noqa: B020  # counts on from the event before
        at, (public, personal) = clock.now(), split(event_fields(event))
        body, written, digest = canonical(public), at.isoformat(), None
        if personal:
            kept = canonical(personal)
            salt, digest = salted(kept)
            beside.append({"session_id": session_id, "seq": seq, "salt": salt, "body": kept})
        before = chained(before, seq, written, body, digest)
        rows.append(
            {
                "session_id": session_id,
                "seq": seq,
                "at": written,
                "body": body,
                "hash": before,
                "personal_digest": digest,
                "signature": None,
            }
        )
        stored.append(StoredEvent(seq, at, event, before))
    if rows:
        rows[-1]["signature"] = signer.sign(event_text(session_id, seq, before))
    head = {"seq": seq, "hash": before, "signature": signer.sign(head_text(session_id, seq, before))}
    return Links(tuple(stored), head, rows, beside, _turns(session_id, events), _handoffs(session_id, events))


def _turns(session_id: str, events: Sequence[Event]) -> list[Row]:
    return [
        {"turn_id": each.turn_id, "session_id": session_id, "idempotency_key": each.idempotency_key}
        for each in events
        if isinstance(each, TurnStarted)
    ]


def _handoffs(session_id: str, events: Sequence[Event]) -> list[Row]:
    raised = [each.handoff for each in events if isinstance(each, HandoffRaised)]
    return [{"id": h.id, "session_id": session_id, "reason": h.reason, "owner": h.owner, "due_at": h.due_at} for h in raised]
