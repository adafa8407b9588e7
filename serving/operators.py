"""What operators do with handoffs: take one, answer the customer, close it. Each step is an event in the session's log."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from agents.domain.errors import HandoffTaken, NotFound, TurnInProgress
from agents.domain.events import Event, HandoffClaimed, HandoffClosed, OperatorReplied
from agents.ports import Store
from serving.admission.tickets import Caller
from serving.stores.handoffs import HandoffStore, TrackedHandoff

LEASE_S = 15.0


@dataclass(frozen=True, slots=True)
class Operators:
    """An operator is known by the tenant and the name of their key, so that a new key of the same name goes on."""

    store: Store
    handoffs: HandoffStore

    async def listed(self, caller: Caller, *, closed: bool = False) -> Sequence[TrackedHandoff]:
        return await self.handoffs.listed(tenant=caller.tenant or None, closed=closed)

    async def claim(self, handoff_id: str, caller: Caller) -> TrackedHandoff:
        """Take a handoff; claiming one's own again changes nothing. Raises NotFound, HandoffTaken, TurnInProgress."""
        found = await self._open(handoff_id, caller)
        if found.claimed_by is None:
            await self._append(found.handoff.session_id, HandoffClaimed(handoff_id, operator_of(caller)))
        elif found.claimed_by != operator_of(caller):
            raise HandoffTaken(f"{found.claimed_by} has it", hint="Take another from GET /v1/handoffs.")
        return await self.handoffs.find(handoff_id)

    async def reply(self, handoff_id: str, caller: Caller, text: str, *, key: str | None = None) -> TrackedHandoff:
        """Say something to the customer. The same `key` again says it once. Raises as `claim`, and HandoffTaken for one that
        was not claimed."""
        found = await self._mine(handoff_id, caller)
        await self._append(found.handoff.session_id, OperatorReplied(handoff_id, operator_of(caller), text, key))
        return found

    async def close(self, handoff_id: str, caller: Caller) -> TrackedHandoff:
        """The promise is kept; closing one's own again changes nothing. Raises as `reply`."""
        found = await self._visible(handoff_id, caller)
        if found.closed_at is not None and found.claimed_by == operator_of(caller):
            return found
        found = await self._mine(handoff_id, caller)
        await self._append(found.handoff.session_id, HandoffClosed(handoff_id, operator_of(caller)))
        return await self.handoffs.find(handoff_id)

    async def _visible(self, handoff_id: str, caller: Caller) -> TrackedHandoff:
        found = await self.handoffs.find(handoff_id)
        if not caller.speaks_for(found.tenant):  # another tenant's is not even there
            raise NotFound(f"no handoff {handoff_id!r}", hint="See GET /v1/handoffs.")
        return found

    async def _open(self, handoff_id: str, caller: Caller) -> TrackedHandoff:
        found = await self._visible(handoff_id, caller)
        if found.closed_at is not None:
            raise HandoffTaken("this handoff is closed", hint="See GET /v1/handoffs.")
        return found

    async def _mine(self, handoff_id: str, caller: Caller) -> TrackedHandoff:
        found = await self._open(handoff_id, caller)
        if found.claimed_by != operator_of(caller):
            said = "nobody has claimed it" if found.claimed_by is None else f"{found.claimed_by} has it"
            raise HandoffTaken(said, hint=f"POST /v1/handoffs/{handoff_id}/claim first.")
        return found

    async def _append(self, session_id: str, event: Event) -> None:
        """Under the session's lease: a turn that runs numbers its events itself."""
        holder = f"operator_{uuid4().hex[:16]}"
        if not await self.store.acquire_lease(session_id, holder, ttl_s=LEASE_S):
            raise TurnInProgress("this session is answering a message", hint="Try again in a moment.")
        try:
            stored = await self.store.events(session_id)
            if not _said(event, [each.event for each in stored]):
                await self.store.append(session_id, [event], expected_seq=stored[-1].seq)
        finally:
            await self.store.release_lease(session_id, holder)


def operator_of(caller: Caller) -> str:
    return f"{caller.tenant}/{caller.name}" if caller.tenant else caller.name


def _said(event: Event, before: Sequence[Event]) -> bool:
    if not isinstance(event, OperatorReplied) or event.idempotency_key is None:
        return False
    same = (event.handoff_id, event.idempotency_key)
    return any(isinstance(each, OperatorReplied) and (each.handoff_id, each.idempotency_key) == same for each in before)
