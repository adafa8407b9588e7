"""The ledger: a write happens at most once. Intent is durable before the tool is called; its key is the tool's idempotency key.

intended -> done | refused | failed | unknown. After a crash or a lost response the tool is asked by key before anything else;
what it does not know is called again under the same key, where the tool is idempotent, while the yes is fresh.
An open line's `result` says which attempt wrote it and when: {"attempt": id, "attempted_at": ISO time}.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from agents.domain.errors import BadInput, NotAllowed, NotFound, ToolFailed, ToolRefused
from agents.domain.words import ActionRecord, ActionStatus, Offer
from agents.ports import BackOffice, Clock, Permits, Store, ToolCall

SETTLED = frozenset({ActionStatus.DONE, ActionStatus.REFUSED})
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
        self._running: set[asyncio.Task[ActionRecord]] = set()

    async def execute(self, offer: Offer, *, session_id: str, customer_id: str, permits: Permits | None = None) -> ActionRecord:
        """Carry out a confirmed offer once; the same offer again returns the first outcome. Raises nothing of a tool's.

        `permits` is asked with the customer's other counted lines in the transaction that writes the intent: of two sessions
        that spend the same cap at once the second sees the first. What is not permitted ends as failed without a call. A
        cancelled caller does not cut the action: it is carried out and settled.
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
        fresh and the tool idempotent, and failed when it is not fresh; unknown is what nobody can tell."""
        found = await self._look(record)
        if found is None:
            return await self._settle(record, ActionStatus.UNKNOWN, self._open(record, "its outcome cannot be looked up"))
        if found:
            return await self._settle(record, ActionStatus.DONE, found["receipt"])
        if not self._idempotent(record):
            return await self._settle(record, ActionStatus.UNKNOWN, self._open(record, "it cannot be asked for by key"))
        if self._clock.now() - (record.at or self._clock.now()) > FRESH:
            return await self._settle(record, ActionStatus.FAILED, {"reason": "it was not carried out"})
        return await self._call_tool(record, doubtful=True)

    def may_still_run(self, record: ActionRecord) -> bool:
        """Whether the attempt that wrote this open line can still be under way somewhere."""
        return self._landing_s(record) > 0

    async def _execute(self, offer: Offer, session_id: str, customer_id: str, permits: Permits | None) -> ActionRecord:
        amount = offer.amount.minor if offer.amount is not None else None
        mine, now = self._attempt(), self._clock.now()
        wanted = ActionRecord(offer.id, session_id, customer_id, offer.proposal, amount, ActionStatus.INTENDED, mine, now)
        stored = await self._store.intend(wanted, permits=permits, since=now - LOOK_BACK)
        if stored.customer_id != customer_id or stored.proposal.action != offer.proposal.action:
            raise NotAllowed(f"the ledger's line {offer.id} is another action", hint="An offer's id names its exact terms.")
        if stored.result.get("attempt") == mine["attempt"]:
            return await self._call_tool(stored)
        if stored.status in SETTLED or stored.status is ActionStatus.FAILED:
            return stored
        return await self.reconcile(stored)  # an earlier attempt left it open: what became of it?

    async def _call_tool(self, record: ActionRecord, *, doubtful: bool = False) -> ActionRecord:
        """Call the tool until its outcome is certain, at most `CALLS` times. `doubtful`: an earlier call may still land, so
        that "failed" of a later one proves nothing."""
        for _ in range(CALLS):
            try:
                receipt = await self._back_office.call(record.proposal.action, record.proposal.args, self._call(record))
            except (ToolRefused, ToolFailed, BadInput, NotFound) as error:
                status = ActionStatus.REFUSED if isinstance(error, ToolRefused) else ActionStatus.FAILED
                if not doubtful:
                    return await self._settle(record, status, {"reason": error.message})
                found = await self._look(record)
                if found == {} and status is ActionStatus.REFUSED:
                    return await self._settle(record, status, {"reason": error.message})
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
        await self._store.settle(settled)
        return settled

    def _landing_s(self, record: ActionRecord) -> float:
        """Seconds until an attempt that may still run elsewhere has certainly ended; 0 or less when it has."""
        began = record.result.get("attempted_at") if record.status is ActionStatus.INTENDED else None
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
