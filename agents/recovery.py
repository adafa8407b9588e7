"""What a crash or a lost answer left behind: open ledger lines are settled or given to a person, and sessions are told."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from agents.decision import new_handoff
from agents.domain.errors import KeepwordError
from agents.domain.events import ActionTaken, Event, HandoffRaised, OfferClosed, TurnFailed
from agents.domain.pack import Pack
from agents.domain.render import joined
from agents.domain.session import SessionState, fold
from agents.domain.words import ActionRecord, ActionStatus
from agents.ledger.ledger import Ledger
from agents.ledger.steps import Standing, standing, told
from agents.ports import Clock, Store
from agents.privacy import masked_log
from agents.reply.points import Points

log = masked_log("keepword.recovery")
EVERY_S = 2.0
FIRST_RETRY = timedelta(seconds=2)  # then twice as long each time
LAST_RETRY = timedelta(minutes=10)
TRIES = 4  # that end unknown before a person is asked
LEASE_S = 20.0
HOLDER = "recovery"
UNKNOWN_REASON = "nobody can say whether it happened: "


class Recovery:
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
        self._handed_over: set[str] = set()  # keys of stuck lines whose person this process has made sure of

    async def watch(self) -> None:
        """Sweep for ever. Cancel to stop; a failed sweep is logged and tried again."""
        while True:
            try:
                await self.sweep()
            except KeepwordError as error:
                log.warning("recovery could not sweep: %s", error.message)
            await self._pause(EVERY_S)

    async def sweep(self) -> tuple[ActionRecord, ...]:
        """Try every open line that is due once; the lines as they are now. A line somebody may still be at is left alone; one
        that stays unknown is tried at growing intervals, and handed to a person after `TRIES`; a stuck one is handed over."""
        due = [record for record in await self._store.unsettled() if self._due(record)]
        return tuple([await self._try(record) for record in due])

    async def _try(self, record: ActionRecord) -> ActionRecord:
        found = await self._ledger.reconcile(record)
        if found.status is ActionStatus.UNKNOWN and int(found.result.get("tries", 0)) >= TRIES:
            await self._hand_off(found, UNKNOWN_REASON + found.proposal.action + " " + found.key)
        elif found.status is ActionStatus.STUCK:
            reason = told(await self._store.lines(found.offer_id))
            if await self._hand_off(found, reason):
                self._handed_over.add(found.key)
        return found

    def _due(self, record: ActionRecord) -> bool:
        if record.status is ActionStatus.STUCK:
            return record.key not in self._handed_over
        tried_at = record.result.get("tried_at")
        if record.status is not ActionStatus.UNKNOWN or not isinstance(tried_at, str):
            return not self._ledger.may_still_run(record)
        doublings = min(max(int(record.result.get("tries", 1)) - 1, 0), 16)
        wait: timedelta = min(FIRST_RETRY * (1 << doublings), LAST_RETRY)
        return self._clock.now() >= datetime.fromisoformat(tried_at) + wait

    async def _hand_off(self, record: ActionRecord, reason: str) -> bool:
        """Promise a person, once a reason; whether that is made sure of. A session that is answering just now is told at a
        later sweep."""
        session_id = record.session_id
        if not await self._store.acquire_lease(session_id, HOLDER, ttl_s=LEASE_S):
            return False
        try:
            stored = await self._store.events(session_id)
            state = fold(each.event for each in stored)
            if not any(handoff.reason == reason for handoff in state.handoffs):
                handoff = new_handoff(self._pack, state, self._clock, reason=reason)
                raised = HandoffRaised(state.open_turn_id or "", handoff)
                await self._store.append(session_id, [raised], expected_seq=stored[-1].seq)
            return True
        finally:
            await self._store.release_lease(session_id, HOLDER)


def ending(pack: Pack, state: SessionState, lines: Sequence[ActionRecord], clock: Clock) -> list[Event]:
    """The events that end a turn whose process died, so that the session says what is true: an accepted offer that was carried
    out meanwhile, or undone, is told with its receipts. `lines` are the open offer's ledger lines."""
    turn_id, offer = state.open_turn_id or "", state.open_offer
    points = Points(pack, state.locale)
    how = standing(lines) if lines else Standing.FAILED
    if offer is None or how is Standing.FAILED:
        return [TurnFailed(turn_id, "interrupted", points.text("unavailable"))]
    if how is Standing.PENDING:  # the offer stays open: another yes carries it on
        return [TurnFailed(turn_id, "interrupted", joined(points.results(offer, lines, state.facts), state.locale))]
    events: list[Event] = [ActionTaken(turn_id, line, 0.0) for line in lines]
    events.append(OfferClosed(turn_id, offer.id, "accepted"))
    said = points.results(offer, lines, state.facts)
    if how is not Standing.DONE:
        reason = told(lines)
        standing_one = next((handoff for handoff in state.handoffs if handoff.reason == reason), None)
        handoff = standing_one or new_handoff(pack, state, clock, reason=reason)
        if standing_one is None:
            events.append(HandoffRaised(turn_id, handoff))
        said.append(points.handoff(handoff))
    return [*events, TurnFailed(turn_id, "interrupted", joined(said, state.locale))]
