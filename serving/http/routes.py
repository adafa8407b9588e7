"""The /v1 routes: sessions, turns, events."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse, Response

from agents.domain.errors import BadInput, NotAllowed
from agents.domain.session import fold, transcript
from agents.turn import AcceptedTurn
from serving.admission.tickets import Caller, Scope, Ticket
from serving.http.callers import BEARER, ApiKey, Authorization, caller_of, deadline_s, key_in, needs
from serving.http.desk import Desk
from serving.http.problems import HttpProblem, responses
from serving.http.schemas import DevCustomer, DevToken, NewSession, NewTurn, SessionOpened, SessionOut, TurnOut
from serving.http.streamed import Streamed, left
from serving.http.wire import ENDS, HEARTBEAT, event_out, frame, moved

SSE = "text/event-stream"
SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
BODY = ("bad-input", "bad-json", "body-too-large", "media-type")
STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": {SSE: {}}}}
OURS = ("unauthorized", "not-allowed", "not-found")

router = APIRouter(prefix="/v1")


async def desk_of(request: Request) -> Desk:  # async: FastAPI sends what is not to a thread, at every request
    desk: Desk = request.app.state.desk
    return desk


def _in_session(*scopes: Scope) -> Callable[..., Awaitable[Caller]]:
    """A dependency: who speaks in the session of the path, by its token or by an API key of its tenant. 404 for a session that
    does not exist, 403 for one of someone else's."""

    async def visitor(
        request: Request, session_id: str, authorization: Authorization = None, x_api_key: ApiKey = None
    ) -> Caller:
        desk = await desk_of(request)
        if (key := key_in(authorization, x_api_key)) is not None:
            caller = await caller_of(request, key, *scopes)
            tenant = await desk.operators.handoffs.session_tenant(session_id)
            if not caller.speaks_for(tenant):
                raise NotAllowed("this session is another tenant's", hint="Use that tenant's API key.")
            return replace(caller, tenant=tenant)
        if authorization is None or not authorization.startswith(BEARER):
            raise HttpProblem("unauthorized", "no session token", hint="Send Authorization: Bearer <session_token>.")
        try:  # a token that is right needs no look: it was given for a session that had just been opened
            return await desk.visitor(session_id, authorization.removeprefix(BEARER).strip())
        except NotAllowed:
            await desk.store.events(session_id, after_seq=2**31 - 1)
            raise

    return visitor


TheDesk = Annotated[Desk, Depends(desk_of)]
Speaker = Annotated[Caller, Depends(_in_session(Scope.TURNS))]
Reader = Annotated[Caller, Depends(_in_session(Scope.TURNS, Scope.OPERATOR))]


@router.post("/sessions", status_code=201, responses=responses(*BODY, "unauthorized", "not-allowed", "store-unavailable"))
async def open_session(
    body: NewSession, desk: TheDesk, caller: Annotated[Caller, Depends(needs(Scope.TURNS))]
) -> SessionOpened:
    """Open a visit. Needs an API key where the desk asks for them; what the visit uses counts against its limits."""
    if body.pack is not None and body.pack != desk.pack.name:
        raise BadInput(f"this desk does not serve {body.pack!r}", field="pack", hint=f"It serves {desk.pack.name!r}.")
    started = await desk.open_session(
        customer_token=body.customer_token, locale=body.locale, context=dict(body.context), caller=caller
    )
    token = desk.tokens.make("session", started.session_id, tenant=started.tenant, key=caller.key_id)
    return SessionOpened(
        session_id=started.session_id, session_token=token, customer_id=started.customer_id, locale=started.locale
    )


@router.post(
    "/sessions/{session_id}/turns",
    response_model=TurnOut,
    responses=STREAMED | responses(*BODY, *OURS, "turn-in-progress", "overloaded", "store-unavailable"),
)
async def take_turn(
    request: Request,
    session_id: str,
    body: NewTurn,
    desk: TheDesk,
    caller: Speaker,
    deadline: Annotated[float, Depends(deadline_s)],
    accept: Annotated[str, Header()] = "application/json",
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Say something. Streams events with `Accept: text/event-stream`, otherwise answers when the turn has ended. Under load
    it waits for its tenant's turn, or is refused with Retry-After when it could not be answered in time."""
    if body.images:
        raise HttpProblem("images-not-supported", "this desk cannot read images yet", hint="Describe the problem in words.")
    key = idempotency_key or body.idempotency_key
    ticket = Ticket.of(caller, deadline_s=deadline)
    accepted = await desk.start(
        session_id, body.text, locale=body.locale, idempotency_key=key, ticket=ticket, gone=partial(left, request.receive)
    )
    if SSE in accept:
        return Streamed(_turn_frames(desk, accepted), SSE, SSE_HEADERS)
    return JSONResponse((await _whole_turn(desk, accepted)).model_dump(mode="json"))


@router.get("/sessions/{session_id}", responses=responses(*OURS))
async def read_session(session_id: str, desk: TheDesk, _caller: Reader) -> SessionOut:
    """The transcript and where the visit stands."""
    stored = await desk.store.events(session_id)
    state = fold(each.event for each in stored)
    return SessionOut(
        session_id=session_id,
        customer_id=state.customer_id,
        pack=state.pack,
        locale=state.locale,
        scenario=state.scenario,
        open_offer_id=state.open_offer.id if state.open_offer else None,
        transcript=[{"who": line.who, "text": line.text} for line in transcript(each.event for each in stored)],
        last_event_id=stored[-1].seq,
    )


@router.get("/sessions/{session_id}/events", responses=STREAMED | responses(*OURS))
async def follow_session(
    session_id: str,
    desk: TheDesk,
    _caller: Reader,
    last_event_id: Annotated[int, Header(ge=0, description="Resume after this event.")] = 0,
) -> Response:
    """Every event of the session from `Last-Event-ID` on, as they come. A stream whose server is about to go ends with
    `stream.moved`: ask again with the last id."""
    frames = _session_frames(desk, session_id, last_event_id)
    return Streamed(frames, SSE, SSE_HEADERS)


@router.get("/dev/customers", responses=responses("not-found"))
async def dev_customers(desk: TheDesk) -> list[str]:
    """The pack's test customers. Only on a development desk."""
    _dev(desk)
    return list(desk.dev_customers)


@router.post("/dev/customer-tokens", responses=responses(*BODY, "not-found"))
async def dev_token(body: DevCustomer, desk: TheDesk) -> DevToken:
    """A token as the marketplace's login would give it. Only on a development desk."""
    _dev(desk)
    token = desk.tokens.make("customer", body.customer_id, market=body.market, tenant=body.tenant)
    return DevToken(customer_id=body.customer_id, customer_token=token)


def _dev(desk: Desk) -> None:
    if not desk.settings.offers_dev:
        raise HttpProblem(
            "not-found", "this desk offers no test customers", hint="Set KEEPWORD_DEV=true on a desk of your own."
        )


async def _turn_frames(desk: Desk, accepted: AcceptedTurn) -> AsyncGenerator[bytes, None]:
    """The turn's frames; what was stored together is sent together."""
    async with aclosing(desk.store.follow_together(accepted.session_id, after_seq=accepted.after_seq)) as events:
        async for together in events:
            mine = [each for each in together if getattr(each.event, "turn_id", accepted.turn_id) == accepted.turn_id]
            if mine or not together:
                yield b"".join(map(frame, mine)) or HEARTBEAT
            if mine and mine[-1].event.type in ENDS:
                return


async def _session_frames(desk: Desk, session_id: str, after_seq: int) -> AsyncGenerator[bytes, None]:
    last = after_seq
    async with aclosing(desk.store.follow_together(session_id, after_seq=after_seq, stays=False)) as events:
        async for together in events:
            last = together[-1].seq if together else last
            yield b"".join(map(frame, together)) or HEARTBEAT
    yield moved(last)


async def _whole_turn(desk: Desk, accepted: AcceptedTurn) -> TurnOut:
    events = []
    async with aclosing(desk.store.follow(accepted.session_id, after_seq=accepted.after_seq)) as following:
        async for stored in following:
            if stored is None or getattr(stored.event, "turn_id", None) != accepted.turn_id:
                continue
            events.append(event_out(stored))
            if stored.event.type in ENDS:
                break
    last = events[-1]
    return TurnOut(
        session_id=accepted.session_id,
        turn_id=accepted.turn_id,
        reply=str(last.data.get("text") or last.data.get("message")),
        outcome="done" if last.event == "turn.done" else str(last.data.get("error")),
        events=events,
    )
