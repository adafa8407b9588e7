"""The ledger: a write happens at most once. Intent is durable before the tool is called; its key is the tool's idempotency key.

intended -> done | refused | failed | unknown. After a crash or a lost response the tool is asked by key before anything else.
An intended line's `result` says which attempt wrote it and when: {"attempt": id, "attempted_at": ISO time}.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from agents.domain.errors import BadInput, NotAllowed, NotFound, ToolFailed, ToolFailure, ToolRefused, ToolUnknown
from agents.domain.words import ActionRecord, ActionStatus, Offer
from agents.ports import BackOffice, Clock, Store, ToolCall

SETTLED = frozenset({ActionStatus.DONE, ActionStatus.REFUSED})
PAUSES_S = (0.2, 0.8)  # between the looks for an outcome: it may land a moment after its answer was lost
LOOK_BACK = timedelta(days=400)  # how far back caps may look
TICK_S = 0.05  # a sleep by one clock may end a moment early by the other
LANDING_S = 1.0  # beyond a tool's own timeout, until an attempt elsewhere has certainly been settled

Permits = Callable[[Sequence[ActionRecord]], bool]


class Ledger:
    """`pause` waits some seconds (a test moves its clock instead)."""

    def __init__(
        self, store: Store, back_office: BackOffice, clock: Clock, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._store, self._back_office, self._clock, self._pause = store, back_office, clock, pause
        self._running: set[asyncio.Task[ActionRecord]] = set()

    async def execute(self, offer: Offer, *, session_id: str, customer_id: str, permits: Permits | None = None) -> ActionRecord:
        """Carry out a confirmed offer once; the same offer again returns the first outcome. Raises nothing of a tool's.

        `permits` is asked once the intent is durable, with the customer's other counted lines: two sessions that spend
        the same cap at once see each other, and what is no longer permitted ends as failed without a call. A cancelled
        caller does not cut the action: it is carried out and settled.
        """
        action = asyncio.ensure_future(self._execute(offer, session_id, customer_id, permits))
        self._running.add(action)
        action.add_done_callback(self._running.discard)
        return await asyncio.shield(action)

    async def recover(self) -> tuple[ActionRecord, ...]:
        """Ask the tools what became of every open line, and settle it. A line so young that another replica may still be
        at it is given the time to be settled there first."""
        wait_s = max((self._landing_s(record) for record in await self._store.unsettled()), default=0.0)
        if wait_s > 0:
            await self._pause(wait_s)
        return tuple(
            [await self._reconcile(record) for record in await self._store.unsettled() if self._landing_s(record) <= 0]
        )

    async def _execute(self, offer: Offer, session_id: str, customer_id: str, permits: Permits | None) -> ActionRecord:
        amount = offer.amount.minor if offer.amount is not None else None
        mine, now = self._attempt(), self._clock.now()
        wanted = ActionRecord(offer.id, session_id, customer_id, offer.proposal, amount, ActionStatus.INTENDED, mine, now)
        stored = await self._store.intend(wanted)
        if stored.customer_id != customer_id or stored.proposal.action != offer.proposal.action:
            raise NotAllowed(f"the ledger's line {offer.id} is another action", hint="An offer's id names its exact terms.")
        if stored.status in SETTLED:
            return stored
        if stored.result.get("attempt") != mine["attempt"]:  # an earlier attempt left it open: what became of it?
            found = await self._reconcile(stored)
            if found.status is not ActionStatus.FAILED:
                return found
            stored = await self._settle(found, ActionStatus.INTENDED, self._attempt())
        if permits is not None:
            since = self._clock.now() - LOOK_BACK
            others = [r for r in await self._store.actions(customer_id, since=since) if r.key != offer.id]
            if not permits(others):
                return await self._settle(stored, ActionStatus.FAILED, {"reason": "no longer permitted"})
        return await self._call_tool(stored)

    async def _call_tool(self, record: ActionRecord) -> ActionRecord:
        try:
            receipt = await self._back_office.call(record.proposal.action, record.proposal.args, self._call(record))
        except ToolRefused as error:
            return await self._settle(record, ActionStatus.REFUSED, {"reason": error.message})
        except (ToolFailed, BadInput, NotFound) as error:
            return await self._settle(record, ActionStatus.FAILED, {"reason": error.message})
        except ToolUnknown:
            return await self._reconcile(record)
        return await self._settle(record, ActionStatus.DONE, receipt)

    async def _reconcile(self, record: ActionRecord) -> ActionRecord:
        """Done when the tool knows the key, failed when it certainly does not, unknown when it cannot say.

        "Not there" is believed at once of an old attempt, and only at the last look of one that may still land."""
        reason, status, fresh = "", ActionStatus.UNKNOWN, self._landing_s(record) > 0
        for pause_s in (0.0, *PAUSES_S):
            if pause_s:
                await self._pause(pause_s)
            try:
                receipt = await self._back_office.outcome(record.proposal, self._call(record))
            except ToolFailure as error:
                status, reason = ActionStatus.UNKNOWN, error.message
                continue
            if receipt is not None:
                return await self._settle(record, ActionStatus.DONE, receipt)
            status, reason = ActionStatus.FAILED, "it was not carried out"
            if not fresh:
                break
        return await self._settle(record, status, {"reason": reason})

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

    def _attempt(self) -> dict[str, str]:
        return {"attempt": uuid4().hex, "attempted_at": self._clock.now().isoformat()}

    def _call(self, record: ActionRecord) -> ToolCall:
        return ToolCall(record.customer_id, self._clock.now(), record.key)
