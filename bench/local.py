"""The engine and the retriever in this process, without HTTP or a database: what evaluations of one agent need."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agents.domain.pack import Pack
from agents.packs.loader import load_pack
from agents.ports import Model, Structure
from serving.retriever import PackRetriever
from serving.settings import Settings
from serving.wiring import engine_config, open_retriever


@dataclass(frozen=True, slots=True)
class LocalDesk:
    pack: Pack
    model: Model
    retriever: PackRetriever


@asynccontextmanager
async def open_local(
    *, model: str | None = None, pack: str | None = None, further: tuple[Structure, ...] = ()
) -> AsyncGenerator[LocalDesk, None]:
    """The configured model, or the named one, with `further` structures compiled ahead; the index of the user's cache."""
    from serving.engine.vllm_model import VllmModel

    given = {"model": model, "pack": pack}
    settings = Settings.load(**{name: value for name, value in given.items() if value is not None})
    loaded = load_pack(settings.pack, overrides=settings.overrides)
    retriever = open_retriever(settings, loaded)
    engine = VllmModel(engine_config(settings, loaded, further=further, quiet=True))
    try:
        yield LocalDesk(loaded, engine, retriever)
    finally:
        engine.close()
