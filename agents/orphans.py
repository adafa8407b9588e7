"""Turns whose process died: found by their leases, and answered to the end by another process.

A turn that has done nothing is answered anew from its message. One that reached the ledger is settled first, and then the
customer is told what became of the action.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

from agents.decision import new_handoff
from agents.domain.errors import KeepwordError
from agents.domain.events import (
    ActionTaken,
    Event,
    HandoffRaised,
    OfferClosed,
    ReplySentence,
    StoredEvent,
    TurnDone,
    TurnRestarted,
    TurnStarted,
)
from agents.domain.pack import Pack
from agents.domain.render import joined
from agents.domain.session import SessionState, before_turn, fold
from agents.domain.words import ActionRecord, ActionStatus
from agents.lease import RENEW_EVERY_S, Leases
from agents.ledger.ledger import Ledger
from agents.ledger.steps import Standing, standing, told
from agents.ports import Clock, Lease, Store
from agents.privacy import masked_log
from agents.reply.points import Points
from agents.turn import AcceptedTurn

log = masked_log("keepword.orphans")
EVERY_S = RENEW_EVERY_S + 0.1  # who lives renews between two looks, even where clocks differ
AT_ONCE = 8
OPEN = frozenset({ActionStatus.PLANNED, ActionStatus.INTENDED, ActionStatus.UNKNOWN})
CarryOn = Callable[[AcceptedTurn], Awaitable[None]]


class Orphans:
    """`pause` waits some seconds (a test moves its clock instead)."""

    def __init__(
        self,
        pack: Pack,
        ledger: Ledger,
        store: Store,
        clock: Clock,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._pack, self._ledger, self._store, self._clock, self._pause = pack, ledger, store, clock, pause
        self._leases = Leases(store)
        self._seen: frozenset[Lease] = frozenset()

    async def watch(self, carry_on: CarryOn) -> None:
        """Sweep for ever. Cancel to stop; a failed sweep is logged and tried again."""
        while True:
            await self._pause(EVERY_S)
            try:
                await self.sweep(carry_on)
            except KeepwordError as error:
                self._seen = frozenset()  # while the database was away nobody could renew: give them the time
                log.warning("no look for dead turns: %s", error.message)

    async def sweep(self, carry_on: CarryOn) -> int:
        """Take over every session whose lease ran out and was found so at the look before, too: a process that only could not
        reach the database has renewed it by now. `carry_on` starts a turn that is answered anew. How many were taken."""
        expired = frozenset(await self._store.expired_leases())
        due, self._seen = sorted(expired & self._seen, key=lambda lease: lease.until)[:AT_ONCE], expired
        return sum([await self._take_over(lease.session_id, carry_on) for lease in due])

    async def _take_over(self, session_id: str, carry_on: CarryOn) -> bool:
        """Whether there was a turn to finish. The new lease is given back when the turn has ended; if this fails on the way, it
        runs out and the session is found again."""
        holder = f"take_{uuid4().hex[:24]}"
        if not await self._leases.take(session_id, holder):
            return False
        stored = await self._store.events(session_id)
        turn_id = fold(each.event for each in stored).open_turn_id
        if turn_id is None:
            await self._leases.give_back(session_id, holder)
            return False
        log.warning("a turn's process died", extra={"session_id": session_id, "turn_id": turn_id})
        await self._finish(stored, turn_id, holder, carry_on)
        return True

    async def _finish(self, stored: Sequence[StoredEvent], turn_id: str, holder: str, carry_on: CarryOn) -> None:
        before = before_turn([each.event for each in stored], turn_id)
        lines = await self._lines(before)
        if any(self._ledger.may_still_run(line) for line in lines):
            return  # the dead process's call may still land: when this lease has run out, too, it is certain
        end = self._told(before, stored, turn_id, lines) if lines and standing(lines) is not Standing.FAILED else []
        begun = await self._store.append(before.session_id, [TurnRestarted(turn_id), *end], expected_seq=stored[-1].seq)
        if end:
            await self._leases.give_back(before.session_id, holder)
            return
        started = next(s for s in stored if isinstance(s.event, TurnStarted) and s.event.turn_id == turn_id)
        resumed = AcceptedTurn(
            before.session_id, turn_id, started.seq - 1, state=before, started=started, holder=holder, resumed=begun[-1]
        )
        await carry_on(resumed)

    async def _lines(self, before: SessionState) -> Sequence[ActionRecord]:
        """The ledger's lines of the offer that was open when the turn began, carried on as far as they go; none: nothing was
        begun."""
        if before.open_offer is None:
            return ()
        lines = await self._store.lines(before.open_offer.id)
        if any(self._ledger.may_still_run(line) for line in lines):
            return lines
        for line in lines:
            if line.status in OPEN:
                await self._ledger.reconcile(line)
        return await self._store.lines(before.open_offer.id)

    def _told(
        self, before: SessionState, stored: Sequence[StoredEvent], turn_id: str, lines: Sequence[ActionRecord]
    ) -> list[Event]:
        """The end of a turn whose action is settled, or stays unknown: what became of it, in the pack's words."""
        offer, state = before.open_offer, fold(each.event for each in stored)
        assert offer is not None
        points = Points(self._pack, state.locale)
        events: list[Event] = [*(ActionTaken(turn_id, line, 0.0) for line in lines), OfferClosed(turn_id, offer.id, "accepted")]
        said = points.results(offer, lines, state.facts)
        if standing(lines) is not Standing.DONE:
            promised = next((each for each in before.handoffs if each.due_at > self._clock.now()), None)
            handoff = promised or new_handoff(self._pack, before, self._clock, reason=told(lines))
            events += [] if promised else [HandoffRaised(turn_id, handoff)]
            said.append(points.handoff(handoff))
        events += [ReplySentence(turn_id, at, text, "pack") for at, text in enumerate(said)]
        return [*events, TurnDone(turn_id, joined(said, state.locale), {"llm_calls": 0}, {}, offer.clause_ids)]
