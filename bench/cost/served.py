"""The desk as its users get it, but for Ray: wiring's own desk behind uvicorn on a socket, in this process, on uvloop."""

import asyncio
import multiprocessing
import resource
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import uvicorn

from agents.packs.loader import load_pack
from bench.cost.customers import Done, Order, serve_orders
from bench.cost.instant import InstantModel
from bench.processes import listening
from retrieval.embedding import Embedder, Kind, Vectors, make_embedder
from serving import garbage
from serving.app import create_app
from serving.clock import SystemClock
from serving.observe.book import Book
from serving.observe.metrics import EmbeddingMetrics
from serving.observe.ports import ObservedEmbedder
from serving.retriever import PackRetriever
from serving.settings import Settings
from serving.wiring import open_desk

LEAVE_S = 20.0
GRACEFUL_S = 5


class TimedEmbedder(ObservedEmbedder):
    """Also counts calls, and those from inside an event loop, where none belongs."""

    def __init__(self, inner: Embedder) -> None:
        self._timed = EmbeddingMetrics(Book())
        super().__init__(inner, self._timed)
        self.calls, self.in_loop = 0, 0

    @property
    def cpu_s(self) -> float:
        return self._timed.cpu_s

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        self.calls += 1
        self.in_loop += asyncio._get_running_loop() is not None
        return super().embed(texts, kind)


@dataclass
class Served:
    """A desk under way and the process of its customers."""

    embedder: TimedEmbedder
    orders: Connection

    async def customers(self, order: Order) -> Done:
        """Have an order carried out."""
        self.orders.send(order)
        done: Done = await asyncio.to_thread(self.orders.recv)
        return done


@asynccontextmanager
async def served(data_dir: Path, database_url: str = "") -> AsyncGenerator[Served, None]:
    """A desk of the demo shop over the real index, shop, policy, ledger and store. Everything ends with the block."""
    _many_files()
    settings = Settings.load(data_dir=data_dir, database_url=database_url, dev=True, log_level="WARNING")
    embedder = TimedEmbedder(make_embedder(settings.embedder))
    retriever = PackRetriever.open(load_pack(settings.pack), settings.cache_dir / "index", embedder)

    async def ready() -> None:
        return None

    opened = await open_desk(settings, InstantModel(), SystemClock(), engine_ready=ready, retriever=retriever)
    garbage.settle()
    door = listening()
    config = uvicorn.Config(
        create_app(opened.desk, opened.openai),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACEFUL_S,
        backlog=4096,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve([door]))
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    url = f"http://127.0.0.1:{door.getsockname()[1]}"
    process = context.Process(target=serve_orders, args=(url, theirs), daemon=True)
    process.start()
    theirs.close()  # so that a process that died is an error here, not a wait
    try:
        yield Served(embedder, ours)
    finally:
        with suppress(OSError):
            ours.send(None)
        await asyncio.to_thread(process.join, LEAVE_S)
        if process.is_alive():
            process.kill()
        server.should_exit = True
        await running
        await opened.close()


def _many_files() -> None:
    """Thousands of connections need as many files: as many as this user may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
