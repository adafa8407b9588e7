"""Playing recorded turns again: the same code over the same tape must come to the same events, and another policy may not."""

import dataclasses
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agents.domain.events import (
    Event,
    Judged,
    PersonalErased,
    StoredEvent,
    Taped,
    TurnDone,
    TurnFailed,
    TurnRestarted,
    TurnStarted,
)
from agents.domain.pack import Pack
from agents.domain.session import before_turn
from agents.domain.words import Proposal, Ruling, ToolSpec, Verdict
from agents.playback import PlayedClock, PlayedModel, PlayedOffice, PlayedPressure, PlayedRetriever, PlayedStore
from agents.reply.drafter import ReplyStyle
from agents.tape import Tape
from agents.turn import AcceptedTurn
from serving.embedded import put_together
from serving.stores.codec import canonical, event_fields


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a replay left the record. `seq` is the recorded event's number; an empty `was` or `now` means there is none."""

    session_id: str
    seq: int
    was: str
    now: str


@dataclass(frozen=True, slots=True)
class Change:
    """A decision another policy would take. `was` and `now` are rulings with their clauses; None: not judged at all."""

    session_id: str
    seq: int
    proposal: Proposal
    was: Verdict | None
    now: Verdict | None


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """One turn as the log has it. `before` is the session up to the customer's message, that message included; or, where the
    turn was answered anew after its first process died, up to that restart."""

    session_id: str
    turn_id: str
    before: tuple[StoredEvent, ...]
    events: tuple[StoredEvent, ...]
    tape: Tape

    def accepted(self) -> AcceptedTurn:
        """As it was when it was begun, or begun anew."""
        started = next(s for s in self.before if isinstance(s.event, TurnStarted) and s.event.turn_id == self.turn_id)
        last = self.before[-1]
        return AcceptedTurn(
            self.session_id,
            self.turn_id,
            started.seq - 1,
            state=before_turn([stored.event for stored in self.before], self.turn_id),
            started=started,
            holder=self.turn_id,
            resumed=last if isinstance(last.event, TurnRestarted) else None,
        )


def recorded_turns(session_id: str, stored: Sequence[StoredEvent]) -> Iterator[RecordedTurn]:
    """The turns that can be played: taped, ended, and not erased since."""
    erased = max((each.seq for each in stored if isinstance(each.event, PersonalErased)), default=0)
    for place, each in enumerate(stored):
        if not isinstance(each.event, TurnStarted) or each.seq < erased:
            continue
        turn_id = each.event.turn_id
        restarts = [at for at, s in enumerate(stored) if isinstance(s.event, TurnRestarted) and s.event.turn_id == turn_id]
        begun = max([place, *restarts])
        mine = tuple(s for s in stored[begun + 1 :] if getattr(s.event, "turn_id", None) == turn_id)
        tape = next((s.event.tape for s in mine if isinstance(s.event, Taped)), None)
        if tape is not None and isinstance(mine[-1].event, TurnDone | TurnFailed):
            events = tuple(s for s in mine if not isinstance(s.event, Taped))
            heard = {question: list(answers) for question, answers in tape.items()}
            yield RecordedTurn(session_id, turn_id, tuple(stored[: begun + 1]), events, Tape(heard))


async def play(pack: Pack, specs: Sequence[ToolSpec], turn: RecordedTurn, style: ReplyStyle | None = None) -> list[Event]:
    """The events the turn comes to now, its tape left out. `style` must be the one it was recorded under."""
    tape = Tape(turn.tape.heard)
    store = PlayedStore(tape, turn.before)
    rooms = put_together(
        pack,
        store=store,
        back_office=PlayedOffice(tape, specs),
        clock=PlayedClock(tape),
        model=PlayedModel(tape),
        retriever=PlayedRetriever(tape),
        pressure=PlayedPressure(tape),
        style=style,
        taped=False,
    )
    await rooms.turns.run(turn.accepted())
    return store.appended


async def differences(
    pack: Pack, specs: Sequence[ToolSpec], session_id: str, stored: Sequence[StoredEvent], style: ReplyStyle | None = None
) -> AsyncGenerator[tuple[RecordedTurn, list[Difference]], None]:
    """Every recorded turn with where its replay differs, byte by byte of each event's canonical JSON."""
    for turn in recorded_turns(session_id, stored):
        now = [canonical(event_fields(event)) for event in await play(pack, specs, turn, style)]
        was = [canonical(event_fields(each.event)) for each in turn.events]
        places = [each.seq for each in turn.events]
        found = [
            Difference(
                session_id,
                places[index] if index < len(places) else places[-1],
                was[index] if index < len(was) else "",
                now[index] if index < len(now) else "",
            )
            for index in range(max(len(was), len(now)))
            if index >= len(was) or index >= len(now) or was[index] != now[index]
        ]
        yield turn, found


async def changes(
    pack: Pack, specs: Sequence[ToolSpec], session_id: str, stored: Sequence[StoredEvent], style: ReplyStyle | None = None
) -> list[Change]:
    """Every verdict of the session's recorded turns that `pack` would give otherwise, or on another proposal."""
    found: list[Change] = []
    for turn in recorded_turns(session_id, stored):
        was = _verdicts(each.event for each in turn.events)
        now = _verdicts(await play(pack, specs, turn, style))
        seq = next((each.seq for each in turn.events if isinstance(each.event, Judged)), turn.before[-1].seq)
        for key in [*was, *(key for key in now if key not in was)]:
            before, after = was.get(key), now.get(key)
            if _ruled(before) != _ruled(after):
                proposal = (before or after or next(iter(was.values()))).proposal
                found.append(Change(session_id, seq, proposal, before, after))
    return found


def _verdicts(events: Any) -> dict[str, Verdict]:
    """A turn's last verdict on each proposal. One that stands in several offers, alone and as a step, has one for each."""
    found: dict[str, Verdict] = {}
    for event in events:
        seen = Counter[str]()
        for verdict in event.verdicts if isinstance(event, Judged) else ():
            call = canonical({"action": verdict.proposal.action, "args": dict(verdict.proposal.args)})
            found[f"{call} {seen[call]}"] = verdict
            seen[call] += 1
    return found


def _ruled(verdict: Verdict | None) -> tuple[Ruling, tuple[str, ...]] | None:
    return None if verdict is None else (verdict.ruling, tuple(sorted(verdict.clause_ids)))


def as_row(change: Change) -> dict[str, Any]:
    """A change as JSON values."""

    def said(verdict: Verdict | None) -> dict[str, Any] | None:
        return None if verdict is None else {"ruling": verdict.ruling.value, "clauses": list(verdict.clause_ids)}

    return {
        "session_id": change.session_id,
        "seq": change.seq,
        "proposal": dataclasses.asdict(change.proposal),
        "was": said(change.was),
        "now": said(change.now),
    }
