"""What a crash or a lost answer left behind: open ledger lines are settled or given to a person, and sessions are told."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from agents.decision import new_handoff
from agents.domain.errors import KeepwordError
from agents.domain.events import ActionTaken, Event, HandoffRaised, OfferClosed, TurnFailed
from agents.domain.pack import Pack
from agents.domain.session import SessionState, fold
from agents.domain.words import ActionRecord, ActionStatus
from agents.ledger.ledger import Ledger
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
        that stays unknown is tried at growing intervals, and handed to a person after `TRIES`."""
        due = [record for record in await self._store.unsettled() if self._due(record)]
        return tuple([await self._try(record) for record in due])

    async def _try(self, record: ActionRecord) -> ActionRecord:
        found = await self._ledger.reconcile(record)
        if found.status is ActionStatus.UNKNOWN and int(found.result.get("tries", 0)) >= TRIES:
            await self._hand_off(found)
        return found

    def _due(self, record: ActionRecord) -> bool:
        tried_at = record.result.get("tried_at")
        if record.status is ActionStatus.INTENDED or not isinstance(tried_at, str):
            return not self._ledger.may_still_run(record)
        doublings = min(max(int(record.result.get("tries", 1)) - 1, 0), 16)
        wait: timedelta = min(FIRST_RETRY * (1 << doublings), LAST_RETRY)
        return self._clock.now() >= datetime.fromisoformat(tried_at) + wait

    async def _hand_off(self, record: ActionRecord) -> None:
        """Promise a person, once an action. A session that is answering just now is told at a later sweep."""
        session_id = record.session_id
        if not await self._store.acquire_lease(session_id, HOLDER, ttl_s=LEASE_S):
            return
        try:
            stored = await self._store.events(session_id)
            state, reason = fold(each.event for each in stored), UNKNOWN_REASON + record.proposal.action + " " + record.key
            if any(handoff.reason == reason for handoff in state.handoffs):
                return
            handoff = new_handoff(self._pack, state, self._clock, reason=reason)
            raised = HandoffRaised(state.open_turn_id or "", handoff)
            await self._store.append(session_id, [raised], expected_seq=stored[-1].seq)
        finally:
            await self._store.release_lease(session_id, HOLDER)


def ending(pack: Pack, state: SessionState, spent: Sequence[ActionRecord]) -> list[Event]:
    """The events that end a turn whose process died, so that the session says what is true: an accepted offer that was carried
    out meanwhile is told with its receipt. `spent` are the customer's ledger lines."""
    turn_id, offer = state.open_turn_id or "", state.open_offer
    points = Points(pack, state.locale)
    line = next((each for each in spent if offer is not None and each.key == offer.id), None)
    if offer is None or line is None or line.status is not ActionStatus.DONE:
        return [TurnFailed(turn_id, "interrupted", points.text("unavailable"))]
    told = points.done(offer, line, state.facts)
    return [
        ActionTaken(turn_id, line, 0.0),
        OfferClosed(turn_id, offer.id, "accepted"),
        TurnFailed(turn_id, "interrupted", told),
    ]
