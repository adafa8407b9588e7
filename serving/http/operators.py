"""The operators' routes: /v1/handoffs."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query

from agents.domain.errors import BadInput
from serving.admission.tickets import Caller, Scope
from serving.http.callers import needs
from serving.http.desk import Desk
from serving.http.problems import responses
from serving.http.routes import BODY, TheDesk
from serving.http.schemas import HandoffOut, OperatorReply
from serving.stores.handoffs import TrackedHandoff

router = APIRouter(prefix="/v1/handoffs", tags=["operators"])
Operator = Annotated[Caller, Depends(needs(Scope.OPERATOR))]
REFUSED = responses("unauthorized", "not-allowed", "not-found", "handoff-taken", "store-unavailable")


@router.get("", responses=responses("bad-input", "unauthorized", "not-allowed", "store-unavailable"))
async def list_handoffs(
    desk: TheDesk, operator: Operator, closed: Annotated[bool, Query(description="Closed ones too.")] = False
) -> list[HandoffOut]:
    """Promised handoffs, the most urgent first: of the key's tenant, of every tenant for a key of the house."""
    return [_out(each) for each in await desk.operators.listed(operator, closed=closed)]


@router.post("/{handoff_id}/claim", responses=REFUSED)
async def claim(handoff_id: str, desk: TheDesk, operator: Operator) -> HandoffOut:
    """Take it. Only one operator can; again by the same one changes nothing."""
    return _out(await desk.operators.claim(handoff_id, operator))


@router.post("/{handoff_id}/reply", responses=REFUSED | responses(*BODY))
async def reply(
    handoff_id: str,
    body: OperatorReply,
    desk: TheDesk,
    operator: Operator,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> HandoffOut:
    """Say something to the customer: an `operator.reply` event of the session. Only who claimed it may."""
    _check(desk, body.text)
    return _out(await desk.operators.reply(handoff_id, operator, body.text, key=idempotency_key))


@router.post("/{handoff_id}/close", responses=REFUSED)
async def close(handoff_id: str, desk: TheDesk, operator: Operator) -> HandoffOut:
    """The promise is kept. Only who claimed it may."""
    return _out(await desk.operators.close(handoff_id, operator))


def _check(desk: Desk, text: str) -> None:
    if not text.strip() or len(text) > desk.settings.max_text_chars:
        hint = f"1 to {desk.settings.max_text_chars} characters."
        raise BadInput("the text is empty or too long", field="text", hint=hint)


def _out(tracked: TrackedHandoff) -> HandoffOut:
    handoff = tracked.handoff
    return HandoffOut(
        id=handoff.id,
        session_id=handoff.session_id,
        tenant=tracked.tenant,
        reason=handoff.reason,
        owner=handoff.owner,
        due_at=handoff.due_at,
        claimed_by=tracked.claimed_by,
        claimed_at=tracked.claimed_at,
        closed_at=tracked.closed_at,
    )
