"""What the routes need of a desk, and running accepted turns to their end whoever listens."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from agents.domain.brownout import Brownout
from agents.domain.errors import BadInput, NotAllowed
from agents.domain.events import SessionStarted, TurnDone
from agents.domain.pack import Pack
from agents.domain.words import Locale
from agents.ports import Clock
from agents.turn import AcceptedTurn
from serving.admission.admission import Admission, Gone, Permit
from serving.admission.keys import HOUSE, ApiKeys
from serving.admission.tickets import Caller, Ticket
from serving.http.follow import NotifyingStore
from serving.http.tokens import Bearer, Tokens
from serving.observe.logs import logged_as
from serving.observe.metrics import Metrics
from serving.observe.replicas import Scrape
from serving.observe.traces import NO_TRACES, Traces
from serving.operators import Operators
from serving.settings import Settings

ANONYMOUS = "anonymous"
R = TypeVar("R")


class Turns(Protocol):
    async def accept(
        self, session_id: str, text: str, *, locale: Locale | None = None, idempotency_key: str | None = None
    ) -> AcceptedTurn: ...

    async def run(self, accepted: AcceptedTurn) -> None: ...


@dataclass
class Desk:
    """Everything the HTTP layer talks to. `not_ready` says what is missing to serve a turn now, empty when nothing is."""

    pack: Pack
    turns: Turns
    store: NotifyingStore
    operators: Operators
    tokens: Tokens
    settings: Settings
    metrics: Metrics
    scrape: Scrape
    clock: Clock
    not_ready: Callable[[], Awaitable[dict[str, str]]]
    admission: Admission
    keys: ApiKeys
    dev_customers: tuple[str, ...] = ()
    traces: Traces = NO_TRACES
    running: set[asyncio.Task[Any]] = field(default_factory=set)

    async def open_session(
        self, *, customer_token: str | None, locale: str | None, context: dict[str, object], caller: Caller
    ) -> SessionStarted:
        """Raises NotAllowed for a customer of another tenant than the caller's."""
        bearer = Bearer(ANONYMOUS) if customer_token is None else self.tokens.read("customer", customer_token)
        if bearer.tenant and not caller.speaks_for(bearer.tenant):
            raise NotAllowed("this customer is another tenant's", hint="Use that tenant's API key.")
        session_id = f"ses_{uuid4().hex}"
        started = SessionStarted(
            session_id,
            self.pack.name,
            bearer.subject,
            self.locale(locale),
            context,
            market=bearer.market,
            tenant=bearer.tenant or caller.tenant,
        )
        await self.store.append(session_id, [started], expected_seq=0)
        return started

    def locale(self, wanted: str | None) -> str:
        """`wanted` when the pack speaks it. Raises BadInput otherwise."""
        if wanted is None:
            return self.pack.locales[0]
        if wanted not in self.pack.locales:
            raise BadInput(
                f"this desk does not speak {wanted!r}", field="locale", hint=f"One of {', '.join(self.pack.locales)}."
            )
        return wanted

    async def visitor(self, session_id: str, token: str) -> Caller:
        """Who speaks in a session by its token, within the limits of the key it was opened with. Raises NotAllowed unless
        `token` is this session's and that key still holds."""
        bearer = self.tokens.read("session", token)
        if bearer.subject != session_id:
            raise NotAllowed("this session belongs to someone else", hint="Use the session_token you got with the session.")
        holder = await self.keys.holder(bearer.key) if bearer.key else HOUSE
        return replace(holder, tenant=bearer.tenant)

    async def start(
        self,
        session_id: str,
        text: str,
        *,
        locale: str | None,
        idempotency_key: str | None,
        ticket: Ticket,
        gone: Gone | None = None,
    ) -> AcceptedTurn:
        """Admit and accept a turn and run it in the background: a client that leaves does not lose it, but one that leaves
        while it waits for admission gives up its place. Raises Overloaded."""
        if len(text) > self.settings.max_text_chars:
            hint = f"At most {self.settings.max_text_chars} characters; this has {len(text)}."
            error = BadInput("the text is too long", field="text", hint=hint)
            error.type = "text-too-long"
            raise error
        if not text.strip():
            raise BadInput("the text is empty", field="text", hint="Write what you need.")
        checked = None if locale is None else self.locale(locale)
        key = idempotency_key
        if key is not None and not self.admission.gate.has_room(ticket) and await self.store.turn_by_key(session_id, key):
            # what was begun is told again, however busy the desk is; where there is room, accepting the turn finds it
            return await self.turns.accept(session_id, text, locale=checked, idempotency_key=key)
        permit = await self.admission.enter(ticket, gone)
        return await asyncio.shield(self._apart(self._accept(session_id, text, checked, key, permit)))

    async def _accept(self, session_id: str, text: str, locale: str | None, key: str | None, permit: Permit) -> AcceptedTurn:
        try:
            accepted = await self.turns.accept(session_id, text, locale=locale, idempotency_key=key)
        except BaseException:
            permit.leave(unused=True)
            raise
        if accepted.replayed:
            permit.leave(unused=True)
        else:
            self._apart(self._run(replace(accepted, deadline_s=permit.remaining_s()), permit))
        return accepted

    async def carry_on(self, accepted: AcceptedTurn) -> None:
        """Answer an accepted turn in the background, whoever listens. Its lease must be held. It has waited long enough: no
        admission is asked."""
        self._apart(self._run(accepted, None))

    def _apart(self, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        """A task that outlives its request. A fresh context: in the request's own, Ray Serve ties the engine calls to the
        request and cancels them with it."""
        task = asyncio.create_task(work, context=self.traces.fresh_context())
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        return task

    async def _run(self, accepted: AcceptedTurn, permit: Permit | None) -> None:
        level = Brownout.NORMAL
        try:
            with logged_as(session_id=accepted.session_id, turn_id=accepted.turn_id):
                await self.turns.run(accepted)
                level = await self._account(accepted, permit)
        finally:
            if permit is not None:
                permit.leave(level=level)

    async def _account(self, accepted: AcceptedTurn, permit: Permit | None) -> Brownout:
        """Tell admission what the turn took; the level of brown-out it ran at."""
        at_hand = self.store.recent(accepted.session_id, after_seq=accepted.after_seq)
        self.store.forget(accepted.session_id)
        if permit is None:
            return Brownout.NORMAL
        for stored in at_hand or await self.store.events(accepted.session_id, after_seq=accepted.after_seq):
            if isinstance(stored.event, TurnDone):
                usage = stored.event.usage
                permit.spend(**{kind: usage.get(f"{kind}_tokens", 0) for kind in ("prompt", "completion", "cached")})
                return Brownout(usage.get("brownout", 0))
        return Brownout.NORMAL

    async def drain(self) -> None:
        """Wait for the turns under way."""
        if self.running:
            await asyncio.wait(self.running)
