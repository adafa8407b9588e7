"""The one composition root: every concrete object is built here, from settings and a model."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version

from agents.domain.errors import KeepwordError
from agents.domain.pack import Pack
from agents.packs.loader import load_pack, tools_module
from agents.planning.prompt import plan_structure
from agents.ports import Clock, Model, Structure
from agents.reply.drafter import ReplyStyle
from agents.tools.backoffice import PackBackOffice
from agents.turn import TurnLimits
from retrieval.embedding import make_embedder
from retrieval.embedding_cache import Progress
from serving.embedded import put_together
from serving.engine.config import EngineConfig
from serving.http.desk import Desk
from serving.http.follow import NotifyingStore
from serving.http.tokens import Tokens, kept_secret
from serving.models import ensure, entry
from serving.observe.metrics import Metrics
from serving.observe.ports import ObservedModel, ObservedOffice, ObservedStore
from serving.observe.replicas import Scrape
from serving.observe.traces import NO_TRACES, Traces
from serving.observe.turns import TokenPrices
from serving.retriever import PackRetriever
from serving.settings import Settings
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore

SCRIPTED = "scripted"  # the model name that needs no engine


@dataclass(frozen=True, slots=True)
class OpenDesk:
    """A desk and how to close what it opened."""

    desk: Desk
    close: Callable[[], Awaitable[None]]


def structures(pack: Pack) -> tuple[Structure, ...]:
    """Every structure known at deploy time: the engine compiles them before it is ready."""
    return (plan_structure(pack),)


def open_retriever(settings: Settings, pack: Pack, progress: Progress | None = None) -> PackRetriever:
    """The pack's index in the user's cache folder (it is named by its content), built when missing or stale."""
    return PackRetriever.open(pack, settings.cache_dir / "index", make_embedder(settings.embedder), progress)


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


def open_metrics(settings: Settings) -> Metrics:
    prices = TokenPrices(settings.prompt_price_per_mtok, settings.cached_price_per_mtok, settings.completion_price_per_mtok)
    return Metrics(prices, {"model": settings.model, "pack": settings.pack, "version": version("keepword")})


async def open_desk(
    settings: Settings,
    model: Model,
    clock: Clock,
    *,
    engine_ready: Callable[[], Awaitable[None]],
    traces: Traces = NO_TRACES,
) -> OpenDesk:
    """Open store, back office and index, settle what a crash left, and put the agents together. `engine_ready` raises a
    KeepwordError while the engine cannot serve."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    pack = load_pack(settings.pack, overrides=settings.overrides)
    secret = settings.secret or kept_secret(settings.data_dir / "secret")
    sql = await SqlStore.open(settings.store_url, clock, Signer(secret))
    metrics = open_metrics(settings)
    store = NotifyingStore(ObservedStore(sql, metrics, traces))
    module = tools_module(pack.path)
    back_office = PackBackOffice(module, await module.open_back_office(settings.data_dir / f"pack-{pack.name}"))
    rooms = put_together(
        pack,
        store=store,
        back_office=ObservedOffice(back_office, metrics, traces),
        clock=clock,
        model=ObservedModel(model, metrics, traces),
        retriever=open_retriever(settings, pack),
        style=ReplyStyle(settings.reply_sentences, settings.reply_tokens),
        limits=TurnLimits(turn_s=settings.turn_deadline_s),
        taped=settings.tape,
        tracer=traces,
    )
    await rooms.ledger.recover()
    watching = [asyncio.create_task(each) for each in (rooms.recovery.watch(), metrics.loop_lag.watch())]

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
        handoffs=sql,
        tokens=Tokens(secret, clock),
        settings=settings,
        metrics=metrics,
        scrape=Scrape("desk", "alone", metrics.book.exposition, metrics.replicas, {}),
        clock=clock,
        not_ready=not_ready,
        dev_customers=tuple(getattr(module, "DEV_CUSTOMERS", ())),
        traces=traces,
    )

    async def close() -> None:
        await desk.drain()
        for task in watching:
            task.cancel()
        await asyncio.wait(watching)
        await back_office.close()
        await sql.close()
        await asyncio.to_thread(traces.close)  # it may wait for the collector

    return OpenDesk(desk, close)
