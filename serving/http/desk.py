"""What the routes need of a desk, and running accepted turns to their end whoever listens."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

from agents.domain.errors import BadInput, NotAllowed
from agents.domain.events import SessionStarted
from agents.domain.pack import Pack
from agents.domain.words import Handoff, Locale
from agents.ports import Clock
from agents.turn import AcceptedTurn
from serving.http.follow import NotifyingStore
from serving.http.tokens import Bearer, Tokens
from serving.observe.logs import logged_as
from serving.observe.metrics import Metrics
from serving.observe.replicas import Scrape
from serving.observe.traces import NO_TRACES, Traces
from serving.settings import Settings

ANONYMOUS = "anonymous"


class Turns(Protocol):
    async def accept(
        self, session_id: str, text: str, *, locale: Locale | None = None, idempotency_key: str | None = None
    ) -> AcceptedTurn: ...

    async def run(self, accepted: AcceptedTurn) -> None: ...


class Handoffs(Protocol):
    async def handoffs(self) -> Sequence[Handoff]: ...


@dataclass
class Desk:
    """Everything the HTTP layer talks to. `not_ready` says what is missing to serve a turn now, empty when nothing is."""

    pack: Pack
    turns: Turns
    store: NotifyingStore
    handoffs: Handoffs
    tokens: Tokens
    settings: Settings
    metrics: Metrics
    scrape: Scrape
    clock: Clock
    not_ready: Callable[[], Awaitable[dict[str, str]]]
    dev_customers: tuple[str, ...] = ()
    traces: Traces = NO_TRACES
    running: set[asyncio.Task[None]] = field(default_factory=set)

    async def open_session(
        self, *, customer_token: str | None, locale: str | None, context: dict[str, object]
    ) -> SessionStarted:
        bearer = Bearer(ANONYMOUS) if customer_token is None else self.tokens.read("customer", customer_token)
        session_id = f"ses_{uuid4().hex}"
        started = SessionStarted(
            session_id,
            self.pack.name,
            bearer.subject,
            self.locale(locale),
            context,
            market=bearer.market,
            tenant=bearer.tenant,
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

    def may_use(self, session_id: str, token: str | None) -> None:
        """Raises NotAllowed unless `token` is this session's."""
        if token is None or self.tokens.read("session", token).subject != session_id:
            raise NotAllowed("this session belongs to someone else", hint="Use the session_token you got with the session.")

    async def start(self, session_id: str, text: str, *, locale: str | None, idempotency_key: str | None) -> AcceptedTurn:
        """Accept a turn and run it in the background: a client that leaves does not lose it."""
        if len(text) > self.settings.max_text_chars:
            hint = f"At most {self.settings.max_text_chars} characters; this has {len(text)}."
            error = BadInput("the text is too long", field="text", hint=hint)
            error.type = "text-too-long"
            raise error
        if not text.strip():
            raise BadInput("the text is empty", field="text", hint="Write what you need.")
        checked = None if locale is None else self.locale(locale)
        accepted = await self.turns.accept(session_id, text, locale=checked, idempotency_key=idempotency_key)
        if not accepted.replayed:
            # A fresh context: in the request's own, Ray Serve ties the engine calls to the request and cancels them with it.
            task = asyncio.create_task(self._run(accepted), context=self.traces.fresh_context())
            self.running.add(task)
            task.add_done_callback(self.running.discard)
        return accepted

    async def _run(self, accepted: AcceptedTurn) -> None:
        with logged_as(session_id=accepted.session_id, turn_id=accepted.turn_id):
            await self.turns.run(accepted)

    async def drain(self) -> None:
        """Wait for the turns under way."""
        if self.running:
            await asyncio.wait(self.running)
