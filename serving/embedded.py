"""A desk inside your own program: no server, no engine. Give it a pack and a model; it brings the rest.

    async with EmbeddedDesk.open("shop", model=my_model, data_dir=folder) as desk:
        session_id = await desk.start_session("C-001", locale="en")
        reply = await desk.say(session_id, "My mugs arrived broken, order KW-1042")
        verdict = desk.judge(Proposal("refund_full", {...}), scenario="damaged_item", facts=facts, confirmed=True)

Any tools that implement `agents.ports.BackOffice` can stand in for the pack's own, and any clock, store and retriever.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from agents.decision import Decider
from agents.domain.events import ActionTaken, SessionStarted, StoredEvent, TurnDone, TurnFailed
from agents.domain.pack import Pack
from agents.domain.session import SessionState, fold
from agents.domain.words import ActionRecord, Facts, Locale, Offer, Proposal, Ruling, Verdict
from agents.ledger.ledger import Ledger
from agents.orphans import Orphans
from agents.packs.loader import load_pack, tools_module
from agents.planning.planner import Planner
from agents.policy.engine import PolicyEngine
from agents.policy.steps import as_if_planned
from agents.ports import NO_TRACER, BackOffice, Clock, Model, NoPressure, Pressure, Retriever, Store, Tracer
from agents.privacy import MaskedModel
from agents.recovery import Recovery
from agents.reply.drafter import ReplyAgent, ReplyStyle
from agents.tape import TapedClock, TapedModel, TapedOffice, TapedPressure, TapedRetriever, TapedStore
from agents.tools.backoffice import PackBackOffice
from agents.tools.gather import ill_formed
from agents.turn import TurnLimits, TurnLoop
from serving.clock import SystemClock
from serving.engine.steady import SteadyModel
from serving.http.tokens import kept_secret
from serving.stores.patient import PatientStore
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore

BRIEF_S = 0.5  # a new turn is refused after this much of a database that is away: its client asks again
LASTING_S = 45.0  # an accepted one waits for it


@dataclass(frozen=True, slots=True)
class Rooms:
    """The agents of one desk, put together."""

    turns: TurnLoop
    ledger: Ledger
    policy: PolicyEngine
    recovery: Recovery
    orphans: Orphans


def put_together(
    pack: Pack,
    *,
    store: Store,
    back_office: BackOffice,
    clock: Clock,
    model: Model,
    retriever: Retriever,
    style: ReplyStyle | None = None,
    limits: TurnLimits | None = None,
    pressure: Pressure | None = None,
    taped: bool = True,
    tracer: Tracer = NO_TRACER,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Rooms:
    """The rooms of a desk over what it stands on. The only place that knows which needs which. `taped`: turns keep what they
    were told, so that they can be replayed. `pause` is how the ledger waits some seconds."""
    model, pressure = SteadyModel(MaskedModel(model)), pressure or NoPressure()
    lasting: Store = PatientStore(store, clock, patience_s=LASTING_S)
    store = PatientStore(store, clock, patience_s=BRIEF_S)
    if taped:
        lasting, back_office, clock = TapedStore(lasting), TapedOffice(back_office), TapedClock(clock)
        model, retriever, pressure = TapedModel(model), TapedRetriever(retriever), TapedPressure(pressure)
    ledger, policy = Ledger(lasting, back_office, clock, pause=pause), PolicyEngine(pack)
    turns = TurnLoop(
        pack,
        store=store,
        back_office=back_office,
        clock=clock,
        planner=Planner(pack, model, retriever),
        decider=Decider(pack, policy, ledger, clock, model),
        reply=ReplyAgent(pack, model, style),
        limits=limits,
        lasting=lasting,
        pressure=pressure,
        tracer=tracer,
    )
    recovery, orphans = Recovery(pack, ledger, store, clock, pause=pause), Orphans(pack, ledger, store, clock)
    return Rooms(turns, ledger, policy, recovery, orphans)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a turn said and did. `text` is what the customer reads; `actions` what the ledger settled; `done` is False when the
    turn failed (its text then says so)."""

    turn_id: str
    text: str
    done: bool
    actions: tuple[ActionRecord, ...]
    open_offer: Offer | None
    events: tuple[StoredEvent, ...]


class EmbeddedDesk:
    """Build with `open`. One object may serve many sessions at once."""

    def __init__(self, pack: Pack, rooms: Rooms, store: Store, back_office: BackOffice, clock: Clock) -> None:
        self.pack, self.rooms, self.store, self.back_office, self.clock = pack, rooms, store, back_office, clock

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        pack: Pack | str | Path,
        *,
        model: Model,
        data_dir: Path,
        retriever: Retriever | None = None,
        store: Store | str | None = None,
        back_office: BackOffice | None = None,
        clock: Clock | None = None,
        style: ReplyStyle | None = None,
        limits: TurnLimits | None = None,
        taped: bool = True,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> AsyncGenerator["EmbeddedDesk", None]:
        """A desk, closed at the end with what it opened. `store` is a Store or an SQLAlchemy URL with an async driver
        (default: SQLite in `data_dir`); `retriever` None builds the pack's index in `data_dir`/index; `back_office` None opens
        the pack's own tools in `data_dir`. Raises NotFound, PackInvalid, StoreUnavailable."""
        loaded = pack if isinstance(pack, Pack) else load_pack(pack)
        clock = clock or SystemClock()
        async with AsyncExitStack() as opened:
            if store is None or isinstance(store, str):
                sql = await SqlStore.open(store or _sqlite_in(data_dir), clock, Signer(kept_secret(data_dir / "secret")))
                opened.push_async_callback(sql.close)
                store = sql
            if back_office is None:
                module = tools_module(loaded.path)
                own = PackBackOffice(module, await module.open_back_office(data_dir / f"pack-{loaded.name}"))
                opened.push_async_callback(own.close)
                back_office = own
            if retriever is None:
                retriever = _own_retriever(loaded, data_dir)
            rooms = put_together(
                loaded,
                store=store,
                back_office=back_office,
                clock=clock,
                model=model,
                retriever=retriever,
                style=style,
                limits=limits,
                taped=taped,
                pause=pause,
            )
            yield cls(loaded, rooms, store, back_office, clock)

    async def start_session(
        self,
        customer_id: str,
        *,
        locale: Locale | None = None,
        session_id: str | None = None,
        market: str = "",
        tenant: str = "",
    ) -> str:
        """A new session bound to an authenticated customer; its id. `market` and `tenant` choose the pack's parameters."""
        session_id = session_id or f"ses_{uuid4().hex}"
        spoken = locale or self.pack.locales[0]
        started = SessionStarted(session_id, self.pack.name, customer_id, spoken, market=market, tenant=tenant)
        await self.store.append(session_id, [started], expected_seq=0)
        return session_id

    async def say(
        self, session_id: str, text: str, *, locale: Locale | None = None, idempotency_key: str | None = None
    ) -> Reply:
        """One turn to its end. Raises NotFound, TurnInProgress. The same `idempotency_key` again gives the same reply."""
        accepted = await self.rooms.turns.accept(session_id, text, locale=locale, idempotency_key=idempotency_key)
        if not accepted.replayed:
            await self.rooms.turns.run(accepted)
        events = await self.store.events(session_id)
        return _reply(accepted.turn_id, events)

    def judge(
        self,
        proposal: Proposal,
        *,
        scenario: str,
        facts: Facts,
        confirmed: bool = False,
        spent: Sequence[ActionRecord] = (),
        market: str = "",
        tenant: str = "",
    ) -> Verdict:
        """What the policy says of a proposed action now: pure, nothing is read or written. Arguments that the tool's schema
        does not take, and actions that are no write of the back office, are denied as mistaken."""
        spec = next((spec for spec in self.back_office.specs() if (spec.name, spec.kind) == (proposal.action, "write")), None)
        if mistaken := ("action",) if spec is None else ill_formed(spec, proposal.args):
            return Verdict(proposal, Ruling.DENY, (), mistaken=mistaken)
        return self.rooms.policy.at(market, tenant).judge(
            proposal, scenario=scenario, facts=facts, confirmed=confirmed, spent=spent, now=self.clock.now()
        )

    def judge_steps(
        self,
        proposals: Sequence[Proposal],
        *,
        scenario: str,
        facts: Facts,
        confirmed: bool = False,
        spent: Sequence[ActionRecord] = (),
        market: str = "",
        tenant: str = "",
    ) -> tuple[Verdict, ...]:
        """`judge` for an offer of several writes, one verdict each: the later ones as if the earlier ones were done, and caps
        count them together. It may be offered where every one of them may be."""
        counted, verdicts = list(spent), list[Verdict]()
        for number, proposal in enumerate(proposals):
            verdicts.append(
                self.judge(
                    proposal,
                    scenario=scenario,
                    facts=facts,
                    confirmed=confirmed,
                    spent=counted,
                    market=market,
                    tenant=tenant,
                )
            )
            counted.append(as_if_planned(proposal, number, self.clock.now()))
        return tuple(verdicts)

    async def events(self, session_id: str, *, after_seq: int = 0) -> tuple[StoredEvent, ...]:
        return await self.store.events(session_id, after_seq=after_seq)

    async def state(self, session_id: str) -> SessionState:
        """The session as its events fold."""
        return fold(stored.event for stored in await self.store.events(session_id))


def _sqlite_in(data_dir: Path) -> str:
    data_dir.mkdir(parents=True, exist_ok=True)
    return f"sqlite+aiosqlite:///{data_dir.resolve()}/keepword.db"


def _own_retriever(pack: Pack, data_dir: Path) -> Retriever:
    from retrieval.embedding import make_embedder
    from serving.retriever import PackRetriever
    from serving.settings import Settings

    return PackRetriever.open(pack, data_dir / "index", make_embedder(Settings.load().embedder))


def _reply(turn_id: str, events: Sequence[StoredEvent]) -> Reply:
    mine = tuple(stored for stored in events if getattr(stored.event, "turn_id", None) == turn_id)
    last = mine[-1].event
    return Reply(
        turn_id,
        text=last.text if isinstance(last, TurnDone) else last.message if isinstance(last, TurnFailed) else "",
        done=isinstance(last, TurnDone),
        actions=tuple(stored.event.record for stored in mine if isinstance(stored.event, ActionTaken)),
        open_offer=fold(stored.event for stored in events).open_offer,
        events=mine,
    )
