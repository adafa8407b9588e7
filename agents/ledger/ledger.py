"""The ledger: a write happens at most once. Intent is durable before the tool is called; its key is the tool's idempotency key.

intended -> done | refused | failed | unknown. After a crash or a lost response the tool is asked by key before anything else.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agents.domain.errors import BadInput, ToolFailed, ToolRefused, ToolUnknown
from agents.domain.words import ActionRecord, ActionStatus, Offer
from agents.ports import BackOffice, Clock, Store, ToolCall

SETTLED = frozenset({ActionStatus.DONE, ActionStatus.REFUSED})


class Ledger:
    def __init__(self, store: Store, back_office: BackOffice, clock: Clock) -> None:
        self._store, self._back_office, self._clock = store, back_office, clock

    async def execute(self, offer: Offer, *, session_id: str, customer_id: str) -> ActionRecord:
        """Carry out a confirmed offer once; the same offer again returns the first outcome. Raises nothing of a tool's."""
        now = self._clock.now()
        amount = offer.amount.minor if offer.amount is not None else None
        wanted = ActionRecord(offer.id, session_id, customer_id, offer.proposal, amount, ActionStatus.INTENDED, {}, now)
        stored = await self._store.intend(wanted)
        if stored.status in SETTLED:
            return stored
        if stored != wanted:  # an earlier attempt left it open: what became of it?
            found = await self._reconcile(stored)
            if found.status is not ActionStatus.FAILED:
                return found
            stored = replace(found, status=ActionStatus.INTENDED)
        return await self._attempt(stored)

    async def recover(self) -> tuple[ActionRecord, ...]:
        """Ask the tools what became of every open line, and settle it. Run once before serving."""
        return tuple([await self._reconcile(record) for record in await self._store.unsettled()])

    async def _attempt(self, record: ActionRecord) -> ActionRecord:
        try:
            receipt = await self._back_office.call(record.proposal.action, record.proposal.args, self._call(record))
        except ToolRefused as error:
            return await self._settle(record, ActionStatus.REFUSED, {"reason": error.message})
        except (ToolFailed, BadInput) as error:
            return await self._settle(record, ActionStatus.FAILED, {"reason": error.message})
        except ToolUnknown:
            return await self._reconcile(record)
        return await self._settle(record, ActionStatus.DONE, receipt)

    async def _reconcile(self, record: ActionRecord) -> ActionRecord:
        """Done when the tool knows the key, failed when it certainly does not, unknown when it cannot say."""
        try:
            receipt = await self._back_office.outcome(record.proposal, self._call(record))
        except ToolUnknown as error:
            return await self._settle(record, ActionStatus.UNKNOWN, {"reason": error.message})
        if receipt is None:
            return await self._settle(record, ActionStatus.FAILED, {"reason": "it was not carried out"})
        return await self._settle(record, ActionStatus.DONE, receipt)

    async def _settle(self, record: ActionRecord, status: ActionStatus, result: Mapping[str, Any]) -> ActionRecord:
        settled = replace(record, status=status, result=dict(result))
        await self._store.settle(settled)
        return settled

    def _call(self, record: ActionRecord) -> ToolCall:
        return ToolCall(record.customer_id, self._clock.now(), record.key)
