"""The one composition root: every concrete object is built here, from settings and a model."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

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
from serving.metrics import Metrics
from serving.models import ensure, entry
from serving.openai.contract import RawModel
from serving.openai.desk import DeskChat
from serving.openai.embeddings import Embeddings
from serving.openai.port import PortModel
from serving.openai.routes import OpenAIApi
from serving.retriever import PackRetriever
from serving.settings import Settings
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


async def open_desk(
    settings: Settings,
    model: Model,
    clock: Clock,
    *,
    engine_ready: Callable[[], Awaitable[None]],
    raw: RawModel | None = None,
) -> OpenDesk:
    """Open store, back office and index, settle what a crash left, and put the agents together. `engine_ready` raises a
    KeepwordError while the engine cannot serve. `raw` answers OpenAI calls; None: `model` does, as far as its port goes."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    pack = load_pack(settings.pack, overrides=settings.overrides)
    secret = settings.secret or kept_secret(settings.data_dir / "secret")
    sql = await SqlStore.open(settings.store_url, clock, Signer(secret))
    store = NotifyingStore(sql)
    module = tools_module(pack.path)
    back_office = PackBackOffice(module, await module.open_back_office(settings.data_dir / f"pack-{pack.name}"))
    rooms = put_together(
        pack,
        store=store,
        back_office=back_office,
        clock=clock,
        model=model,
        retriever=open_retriever(settings, pack),
        style=ReplyStyle(settings.reply_sentences, settings.reply_tokens),
        limits=TurnLimits(turn_s=settings.turn_deadline_s),
        taped=settings.tape,
    )
    await rooms.ledger.recover()
    watching = asyncio.create_task(rooms.recovery.watch())

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
        metrics=Metrics(),
        clock=clock,
        not_ready=not_ready,
        dev_customers=tuple(getattr(module, "DEV_CUSTOMERS", ())),
    )

    async def close() -> None:
        await desk.drain()
        watching.cancel()
        await asyncio.wait([watching])
        await back_office.close()
        await sql.close()

    embeddings = Embeddings(Path(settings.embedder).name, partial(make_embedder, settings.embedder))
    chat = DeskChat(desk, secret, sql.sessions_by_key)
    openai = OpenAIApi(raw or PortModel(model, settings.model), settings.model, chat, embeddings)
    return OpenDesk(desk, openai, close)
