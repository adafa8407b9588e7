"""The ledger: a write happens at most once. Intent is durable before the tool is called; its key is the tool's idempotency key.

intended -> done | refused | failed | unknown. After a crash or a lost response the tool is asked by key before anything else;
what it does not know is called again under the same key, where the tool is idempotent, while the yes is fresh.
An open line's `result` says which attempt wrote it and when: {"attempt": id, "attempted_at": ISO time}.
An offer of several writes has a line for each, all written with the first intent; `agents.ledger.steps` says what comes next.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from agents.domain.errors import BadInput, NotAllowed, NotFound, ToolFailed, ToolRefused
from agents.domain.words import ActionRecord, ActionStatus, Offer
from agents.ledger.steps import UNDER_WAY, follows, next_line, planned
from agents.ports import BackOffice, Clock, Permits, Store, ToolCall

FOR_GOOD = frozenset({ActionStatus.REFUSED, ActionStatus.STUCK})
PAUSES_S = (0.2, 0.8)  # between the looks for an outcome: it may land a moment after its answer was lost
CALLS = 3  # of one attempt whose answers are lost
LOOK_BACK = timedelta(days=400)  # how far back caps may look
FRESH = timedelta(minutes=15)  # so long after a yes a lost call is repeated; later the customer is asked again
TICK_S = 0.05  # a sleep by one clock may end a moment early by the other
LANDING_S = 1.0  # beyond a tool's own timeout, until an attempt elsewhere has certainly been settled


class Ledger:
    """`pause` waits some seconds (a test moves its clock instead)."""

    def __init__(
        self, store: Store, back_office: BackOffice, clock: Clock, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._store, self._back_office, self._clock, self._pause = store, back_office, clock, pause
        self._running: set[asyncio.Task[tuple[ActionRecord, ...]]] = set()

    async def execute(
        self, offer: Offer, *, session_id: str, customer_id: str, permits: Permits | None = None
    ) -> tuple[ActionRecord, ...]:
        """Carry out a confirmed offer once; the same offer again returns the first outcome. Raises nothing of a tool's.

        The lines of its steps in order, then of what had to be undone. `permits` is asked with the customer's other counted
        lines in the transaction that writes the intent: of two sessions that spend the same cap at once the second sees the
        first. What is not permitted ends as failed without a call. A cancelled caller does not cut the action: it is carried
        out and settled.
        """
        action = asyncio.ensure_future(self._execute(offer, session_id, customer_id, permits))
        self._running.add(action)
        action.add_done_callback(self._running.discard)
        return await asyncio.shield(action)

    async def recover(self) -> tuple[ActionRecord, ...]:
        """Settle what a crash left open. A line so young that another replica may still be at it is given the time to be
        settled there first."""
        wait_s = max((self._landing_s(record) for record in await self._store.unsettled()), default=0.0)
        if wait_s > 0:
            await self._pause(wait_s + TICK_S)
        return tuple([await self.reconcile(record) for record in await self._store.unsettled() if self._landing_s(record) <= 0])

    async def reconcile(self, record: ActionRecord) -> ActionRecord:
        """Settle an open line: done when the tool knows its key. What it does not know is carried out now while the yes is
        fresh and the tool idempotent, and failed when it is not fresh (undoing has no such limit); unknown is what nobody can
        tell. Once it is settled, its offer goes on: to its end, or back."""
        if record.status in UNDER_WAY:
            record = await self._reconcile(record)
        if record.offer_id and record.status not in UNDER_WAY:
            lines = await self._advance(record.offer_id)
            return next((line for line in lines if line.key == record.key), record)
        return record

    async def _reconcile(self, record: ActionRecord) -> ActionRecord:
        found = await self._look(record)
        if found is None:
            return await self._settle(record, ActionStatus.UNKNOWN, self._open(record, "its outcome cannot be looked up"))
        if found:
            return await self._settle(record, ActionStatus.DONE, found["receipt"])
        if not self._idempotent(record):
            return await self._settle(record, ActionStatus.UNKNOWN, self._open(record, "it cannot be asked for by key"))
        if self._stale(record):
            return await self._settle(record, ActionStatus.FAILED, {"reason": "it was not carried out"})
        return await self._call_tool(record, doubtful=True)

    def may_still_run(self, record: ActionRecord) -> bool:
        """Whether the attempt that wrote this open line can still be under way somewhere."""
        return self._landing_s(record) > 0

    async def _execute(
        self, offer: Offer, session_id: str, customer_id: str, permits: Permits | None
    ) -> tuple[ActionRecord, ...]:
        amount = offer.amount.minor if offer.amount is not None else None
        mine, now = self._attempt(), self._clock.now()
        wanted = ActionRecord(offer.id, session_id, customer_id, offer.proposal, amount, ActionStatus.INTENDED, mine, now)
        if offer.then:
            wanted = replace(wanted, offer_id=offer.id)
        then = planned(offer, wanted)
        stored = await self._store.intend(wanted, then=then, permits=permits, since=now - LOOK_BACK)
        if stored.customer_id != customer_id or stored.proposal.action != offer.proposal.action:
            raise NotAllowed(f"the ledger's line {offer.id} is another action", hint="An offer's id names its exact terms.")
        if stored.result.get("attempt") == mine["attempt"]:
            stored = await self._call_tool(stored)
        elif stored.status in UNDER_WAY:  # an earlier attempt left it open: what became of it?
            stored = await self.reconcile(stored)
        elif stored.status is ActionStatus.FAILED:  # not permitted
            return (stored,)
        if not offer.then:
            return (stored,)
        for line in await self._store.lines(offer.id):
            if line.key != stored.key and line.status in UNDER_WAY:
                await self._reconcile(line)
        return await self._advance(offer.id)

    async def _advance(self, offer_id: str) -> tuple[ActionRecord, ...]:
        """Carry an offer of several writes on as far as it goes; its lines then. A step whose yes is no longer fresh is not
        begun, and what was done before it is undone."""
        while True:
            lines = await self._store.lines(offer_id)
            line = next_line(lines)
            if line is None:
                return lines
            line = replace(line, status=ActionStatus.INTENDED, result=self._attempt())
            if not await self._store.begin(line):
                continue  # another process was first: the lines say so now
            if self._stale(line):
                await self._settle(line, ActionStatus.FAILED, {"reason": "it was not carried out in time"})
            else:
                await self._call_tool(line)

    async def _call_tool(self, record: ActionRecord, *, doubtful: bool = False) -> ActionRecord:
        """Call the tool until its outcome is certain, at most `CALLS` times. `doubtful`: an earlier call may still land, so
        that "failed" of a later one proves nothing."""
        for _ in range(CALLS):
            try:
                receipt = await self._back_office.call(record.proposal.action, record.proposal.args, self._call(record))
            except (ToolRefused, ToolFailed, BadInput, NotFound) as error:
                status = _ended(record, error)
                reason = self._open(record, error.message) if status is ActionStatus.UNKNOWN else {"reason": error.message}
                if not doubtful:
                    return await self._settle(record, status, reason)
                found = await self._look(record)
                if found == {} and status in FOR_GOOD:
                    return await self._settle(record, status, reason)
            except Exception:  # ToolUnknown, or what a back office must not raise: nobody can tell
                doubtful, found = True, await self._look(record)
            else:
                return await self._settle(record, ActionStatus.DONE, receipt)
            if found:
                return await self._settle(record, ActionStatus.DONE, found["receipt"])
            if found is None or not self._idempotent(record):
                break
        return await self._settle(record, ActionStatus.UNKNOWN, self._open(record, "its answers were lost"))

    async def _look(self, record: ActionRecord) -> Mapping[str, Any] | None:
        """{"receipt": …} when the tool knows the key, {} when it certainly does not, None when it cannot say. Looks again
        after a moment: a write may land just after its answer was lost."""
        found: Mapping[str, Any] | None = None
        for pause_s in (0.0, *PAUSES_S):
            if pause_s:
                await self._pause(pause_s)
            try:
                receipt = await self._back_office.outcome(record.proposal, self._call(record))
            except Exception:  # a back office that does not answer, in whatever way
                found = None
                continue
            if receipt is not None:
                return {"receipt": receipt}
            found = {}
            if not self.may_still_run(record):
                break
        return found

    async def _settle(self, record: ActionRecord, status: ActionStatus, result: Mapping[str, Any]) -> ActionRecord:
        settled = replace(record, status=status, result=dict(result))
        then: tuple[ActionRecord, ...] = ()
        if record.offer_id and status is not ActionStatus.UNKNOWN:
            undone_by = {spec.name: spec.undo for spec in self._back_office.specs()}
            lines, now = await self._store.lines(record.offer_id), self._clock.now()
            then = follows(settled, lines, undone_by, self._attempt(), now)
        await self._store.settle(settled, then)
        return settled

    def _stale(self, record: ActionRecord) -> bool:
        """Whether the yes is too old to begin this now. Undoing is never too late."""
        now = self._clock.now()
        return not record.undoes and now - (record.at or now) > FRESH

    def _landing_s(self, record: ActionRecord) -> float:
        """Seconds until an attempt that may still run elsewhere has certainly ended; 0 or less when it has."""
        waiting = record.status in (ActionStatus.INTENDED, ActionStatus.PLANNED)
        began = record.result.get("attempted_at") if waiting else None
        if not isinstance(began, str):
            return 0.0
        timeout_s = next((s.timeout_s for s in self._back_office.specs() if s.name == record.proposal.action), 0.0)
        return timeout_s + LANDING_S - (self._clock.now() - datetime.fromisoformat(began)).total_seconds()

    def _idempotent(self, record: ActionRecord) -> bool:
        return any(spec.idempotent for spec in self._back_office.specs() if spec.name == record.proposal.action)

    def _open(self, record: ActionRecord, reason: str) -> dict[str, Any]:
        """What an open line keeps: the reason, and how often and until when it was tried to settle it."""
        return {"reason": reason, "tries": int(record.result.get("tries", 0)) + 1, "tried_at": self._clock.now().isoformat()}

    def _attempt(self) -> dict[str, str]:
        return {"attempt": uuid4().hex, "attempted_at": self._clock.now().isoformat()}

    def _call(self, record: ActionRecord) -> ToolCall:
        return ToolCall(record.customer_id, self._clock.now(), record.key)


def _ended(record: ActionRecord, error: Exception) -> ActionStatus:
    """What a call that certainly did nothing leaves. Undoing has to happen: a failed one is tried again, a refused one is a
    person's."""
    if record.undoes:
        return ActionStatus.UNKNOWN if isinstance(error, ToolFailed) else ActionStatus.STUCK
    return ActionStatus.REFUSED if isinstance(error, ToolRefused) else ActionStatus.FAILED
