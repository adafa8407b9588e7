"""Is a session's log whole? Every event hangs on the one before, the last of each write is signed (and with it those before
it), and a signed head says where the log ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.stores.codec import GENESIS, chained
from serving.stores.personal import digest
from serving.stores.signing import Verifier, event_text, head_text

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong, and where: `seq` is the event's number, 0 for the head."""

    session_id: str
    seq: int
    what: str

    def __str__(self) -> str:
        return f"{self.session_id} {'head' if self.seq == 0 else f'event {self.seq}'}: {self.what}"


def examine(
    session_id: str, events: Sequence[Row], personal: Mapping[int, Row], head: Row | None, verifier: Verifier
) -> list[Damage]:
    """Every damage of one session, in order. `personal` maps an event's number to its row of personal data; it may be gone
    only where a later `erased` event says so."""
    found: list[Damage] = []
    unsigned: list[int] = []  # events whose signature is that of a later one
    before, expected = GENESIS, 1
    erased_up_to = max((row["seq"] for row in events if '"type":"erased"' in row["body"]), default=0)
    for row in sorted(events, key=lambda row: int(row["seq"])):
        seq = int(row["seq"])
        if seq != expected:
            found.append(Damage(session_id, expected, f"missing: the next event is {seq}"))
        if row["hash"] != chained(before, row["seq"], row["at"], row["body"], row["personal_digest"]):
            found.append(Damage(session_id, seq, "it does not hang on the event before: changed, swapped or forged"))
        unsigned.append(seq)
        if row["signature"] is not None:
            if not verifier.holds(event_text(session_id, row["seq"], row["hash"]), row["signature"]):
                found += [Damage(session_id, each, f"the signature of event {seq} does not hold") for each in unsigned]
            unsigned.clear()
        found += [Damage(session_id, seq, what) for what in _personal(row, personal.get(seq), seq < erased_up_to)]
        before, expected = row["hash"], seq + 1
    found += [Damage(session_id, each, "no signature stands behind it") for each in unsigned]
    found += [Damage(session_id, seq, "personal data of no event") for seq in personal if not 0 < seq < expected]
    return found + _head(session_id, head, expected - 1, before, verifier)


def _personal(row: Row, kept: Row | None, may_be_gone: bool) -> list[str]:
    if kept is None:
        return [] if may_be_gone or not row["personal_digest"] else ["its personal data is gone, and no erasure says so"]
    if digest(kept["salt"], kept["body"]) != row["personal_digest"]:
        return ["its personal data is not what it was"]
    return []


def _head(session_id: str, head: Row | None, last: int, last_hash: str, verifier: Verifier) -> list[Damage]:
    if head is None:
        return [Damage(session_id, 0, "there is no head")]
    wrong = []
    if not verifier.holds(head_text(session_id, head["seq"], head["hash"]), head["signature"]):
        wrong.append(Damage(session_id, 0, "its signature does not hold"))
    if head["seq"] > last:
        wrong.append(Damage(session_id, last + 1, f"missing: the log ended at event {head['seq']}"))
    elif head["seq"] < last:
        wrong.append(Damage(session_id, head["seq"] + 1, "added after the end the head names"))
    elif head["hash"] != last_hash:
        wrong.append(Damage(session_id, 0, "it names another last event"))
    return wrong
