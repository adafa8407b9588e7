"""The one composition root: every concrete object is built here, from settings and a model."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from sqlalchemy.ext.asyncio import create_async_engine

from agents.domain.errors import KeepwordError
from agents.domain.pack import Pack
from agents.packs.loader import load_pack, tools_module
from agents.planning.prompt import plan_structure
from agents.ports import Clock, Model, Retriever, Structure
from agents.reply.drafter import ReplyStyle
from agents.tools.backoffice import PackBackOffice
from agents.turn import TurnLimits
from retrieval.embedding import Embedder, make_embedder
from retrieval.embedding_cache import Progress
from serving.admission.admission import Admission
from serving.admission.breaker import Breaker, WatchedModel
from serving.admission.gate import Gate, GateLimits
from serving.admission.keys import ApiKeys
from serving.admission.metrics import AdmissionMetrics
from serving.admission.pressure import BrownOut
from serving.clock import SystemClock
from serving.embedded import put_together
from serving.engine.config import EngineConfig
from serving.http.desk import Desk
from serving.http.follow import NotifyingStore
from serving.http.tokens import Tokens, kept_secret
from serving.models import ensure, entry
from serving.observe.metrics import EmbeddingMetrics, Metrics
from serving.observe.ports import ObservedEmbedder, ObservedModel, ObservedOffice, ObservedStore
from serving.observe.replicas import Scrape
from serving.observe.traces import NO_TRACES, Traces
from serving.observe.turns import TokenPrices
from serving.openai.access import AdmittedModel
from serving.openai.access import Door as EngineDoor
from serving.openai.contract import RAW_DEADLINE_S, RawModel
from serving.openai.desk import DeskChat
from serving.openai.embeddings import Embeddings
from serving.openai.port import PortModel
from serving.openai.routes import OpenAIApi
from serving.operators import Operators
from serving.retriever import PackRetriever
from serving.settings import Settings
from serving.stores.api_keys import ApiKeyStore
from serving.stores.handoffs import HandoffStore
from serving.stores.replicas import Replicas
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore

SCRIPTED = "scripted"  # the model name that needs no engine


@dataclass(frozen=True, slots=True)
class OpenDesk:
    """A desk and how to close what it opened."""

    desk: Desk
    openai: OpenAIApi
    close: Callable[[], Awaitable[None]]


def structures(pack: Pack) -> tuple[Structure, ...]:
    """Every structure known at deploy time: the engine compiles them before it is ready."""
    return (plan_structure(pack),)


def open_retriever(
    settings: Settings, pack: Pack, progress: Progress | None = None, metrics: EmbeddingMetrics | None = None
) -> PackRetriever:
    """The pack's index in the user's cache folder (it is named by its content), built when missing or stale."""
    embedder: Embedder = make_embedder(settings.embedder)
    if metrics is not None:
        embedder = ObservedEmbedder(embedder, metrics)
    return PackRetriever.open(pack, settings.cache_dir / "index", embedder, progress)


def engine_config(settings: Settings, pack: Pack, *, further: tuple[Structure, ...] = (), quiet: bool = False) -> EngineConfig:
    """The engine for the chosen model; its files are made ready first (downloads when they are not there). `further`
    structures are compiled ahead beside the pack's own."""
    path = ensure(settings.model, settings.profile, quiet=quiet)
    return EngineConfig.of(
        path,
        settings.profile,
        entry(settings.model).engine[settings.profile],
        name=settings.model,
        structures=(*structures(pack), *further),
        grammar_cache=settings.cache_dir / "grammars",
    )


async def prepare(settings: Settings) -> None:
    """Make what all replicas share: the secret, the schema, the pack's own systems. Replicas that start together find it."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    pack = load_pack(settings.pack, overrides=settings.overrides)
    secret = settings.secret or kept_secret(settings.data_dir / "secret")
    await (await SqlStore.open(settings.store_url, SystemClock(), Signer(secret))).close()
    module = tools_module(pack.path)
    await PackBackOffice(module, await module.open_back_office(settings.data_dir / f"pack-{pack.name}")).close()


@dataclass(frozen=True, slots=True)
class Door:
    """Admission, and what presses on turns."""

    admission: Admission
    brown_out: BrownOut
    breaker: Breaker

    def watched(self, metrics: Metrics) -> None:
        told = AdmissionMetrics(metrics.admission)
        told.watch(self.admission.gate, self.brown_out)
        self.admission.gate.listeners.append(told)


def open_door(settings: Settings, clock: Clock) -> Door:
    breaker = Breaker(clock.monotonic)
    brown_out = BrownOut(clock.monotonic, breaker, queue_target_s=settings.queue_target_s)
    limits = GateLimits(settings.turn_target_s, settings.max_queued, in_flight_most=settings.max_turns_in_flight)
    return Door(Admission(Gate(limits, clock.monotonic, brown_out), clock), brown_out, breaker)


def raw_admission(settings: Settings, clock: Clock) -> Admission:
    """Admission to the raw model: as many at once as it is told, for as long as the client waits."""
    slots = float(settings.raw_in_flight)
    limits = GateLimits(RAW_DEADLINE_S, settings.max_queued, in_flight_first=slots, in_flight_most=slots, learns=False)
    return Admission(Gate(limits, clock.monotonic), clock)


def open_engine_door(settings: Settings) -> EngineDoor:
    """Keys and admission for an engine's replica that clients reach directly."""
    clock = SystemClock()
    keys = ApiKeys(ApiKeyStore(create_async_engine(settings.store_url)), clock.monotonic)
    return EngineDoor(settings, keys, raw_admission(settings, clock))


def open_metrics(settings: Settings) -> Metrics:
    prices = TokenPrices(settings.prompt_price_per_mtok, settings.cached_price_per_mtok, settings.completion_price_per_mtok)
    return Metrics(prices, {"model": settings.model, "pack": settings.pack, "version": version("keepword")})


async def open_desk(
    settings: Settings,
    model: Model,
    clock: Clock,
    *,
    engine_ready: Callable[[], Awaitable[None]],
    retriever: Retriever | None = None,
    raw: RawModel | None = None,
    traces: Traces = NO_TRACES,
) -> OpenDesk:
    """Open store, back office and index, settle what a crash left, and put the agents together. `engine_ready` raises a
    KeepwordError while the engine cannot serve; `retriever` None opens the pack's own index. `raw` answers OpenAI calls; None:
    `model` does, as far as its port goes."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    pack = load_pack(settings.pack, overrides=settings.overrides)
    secret = settings.secret or kept_secret(settings.data_dir / "secret")
    sql = await SqlStore.open(settings.store_url, clock, Signer(secret))
    metrics = open_metrics(settings)
    store = NotifyingStore(ObservedStore(sql, metrics, traces))
    module = tools_module(pack.path)
    back_office = PackBackOffice(module, await module.open_back_office(settings.data_dir / f"pack-{pack.name}"))
    door = open_door(settings, clock)
    gate = door.admission.gate
    door.watched(metrics)
    rooms = put_together(
        pack,
        store=store,
        back_office=ObservedOffice(back_office, metrics, traces),
        clock=clock,
        model=ObservedModel(WatchedModel(model, door.breaker), metrics, traces),
        retriever=retriever or open_retriever(settings, pack, metrics=metrics.embedding),
        pressure=door.brown_out,
        style=ReplyStyle(settings.reply_sentences, settings.reply_tokens),
        limits=TurnLimits(turn_s=settings.turn_deadline_s),
        taped=settings.tape,
        tracer=traces,
    )
    await rooms.ledger.recover()
    replicas = Replicas(sql.engine, clock, gate.accounts.take_share)

    async def not_ready() -> dict[str, str]:
        missing = {}
        for name, check in (("database", sql.ping), ("engine", engine_ready)):
            try:
                await check()
            except KeepwordError as error:
                missing[name] = error.message
        return missing

    desk = Desk(
        pack=pack,
        turns=rooms.turns,
        store=store,
        operators=Operators(store, HandoffStore(sql.engine)),
        tokens=Tokens(secret, clock),
        settings=settings,
        metrics=metrics,
        scrape=Scrape("desk", "alone", metrics.book.exposition, metrics.replicas, {}),
        clock=clock,
        not_ready=not_ready,
        admission=door.admission,
        keys=ApiKeys(ApiKeyStore(sql.engine), clock.monotonic),
        dev_customers=tuple(getattr(module, "DEV_CUSTOMERS", ())),
        traces=traces,
    )

    lag = metrics.loop_lag.watch(gate.lagged)
    watches = (rooms.recovery.watch(), rooms.orphans.watch(desk.carry_on), replicas.watch(), lag)
    watching = [asyncio.create_task(each) for each in watches]

    async def close() -> None:
        for watch in watching:
            watch.cancel()
        await asyncio.wait(watching)
        await desk.drain()
        with suppress(KeepwordError):
            await replicas.leave()
        await back_office.close()
        await sql.close()
        await asyncio.to_thread(traces.close)  # it may wait for the collector

    embeddings = Embeddings(Path(settings.embedder).name, partial(make_embedder, settings.embedder))
    chat = DeskChat(desk, secret, sql.sessions_by_key)
    admitted = AdmittedModel(raw or PortModel(model, settings.model), raw_admission(settings, clock))
    openai = OpenAIApi(admitted, settings.model, chat, embeddings)
    return OpenDesk(desk, openai, close)
