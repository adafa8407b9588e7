"""A desk over the real shop, SQLite and index, served by uvicorn on loopback, and OpenAI's own clients of it.

The scripted model says what a raw request tells it to ("say: …"); to the desk's own requests it answers as a weak model would.
"""

import asyncio
import warnings
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest_asyncio
import uvicorn
from fastapi import FastAPI

from agents.domain.errors import EngineUnavailable, Overloaded
from agents.ports import ModelChunk, ModelRequest, ModelResult
from bench.processes import listening
from serving.app import create_app
from serving.clock import SystemClock
from serving.http.desk import Desk
from serving.scripted import ScriptedModel
from serving.settings import Settings
from serving.wiring import open_desk

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own, while it is imported
    from ray import serve as _serve  # noqa: F401

SAY, HANG = "say: ", "hang"
MODEL = "scripted"
MAX_BODY_BYTES = 60_000


class ObedientModel:
    """Says what follows "say: " in the last message. `refusals` are raised first, one a request; HANG streams a word and then
    waits, and `left` is set when such a stream was closed."""

    def __init__(self) -> None:
        self.scripted = ScriptedModel(_say)
        self.refusals: list[Exception] = []
        self.left = asyncio.Event()

    async def generate(self, request: ModelRequest) -> ModelResult:
        self._refuse()
        return await self.scripted.generate(request)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        self._refuse()
        if request.messages[-1].content == HANG:
            try:
                yield ModelChunk("one")
                await asyncio.Event().wait()
            finally:
                self.left.set()
        async for chunk in self.scripted.stream(request):
            yield chunk

    def _refuse(self) -> None:
        if self.refusals:
            raise self.refusals.pop()


def _say(request: ModelRequest) -> str:
    last = request.messages[-1].content
    if last.startswith(SAY):
        return last.removeprefix(SAY)
    if request.structure is not None:
        raise EngineUnavailable("no plan from this model")
    return "Thank you for writing to us."


@dataclass
class Served:
    """A running desk: its address, its app, its model, and an async OpenAI client."""

    url: str
    app: FastAPI
    desk: Desk
    model: ObedientModel
    client: openai.AsyncOpenAI

    def customer_token(self, customer_id: str) -> str:
        return self.desk.tokens.make("customer", customer_id)

    async def chat(self, text: str, **more: Any) -> Any:
        return await self.client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], **more)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served(tmp_path_factory: Any) -> AsyncIterator[Served]:
    folder: Path = tmp_path_factory.mktemp("desk")
    settings = Settings.load(data_dir=folder, max_body_bytes=MAX_BODY_BYTES, model=MODEL)
    model = ObedientModel()

    async def engine_ready() -> None:
        return

    opened = await open_desk(settings, model, SystemClock(), engine_ready=engine_ready)
    door = listening()
    app = create_app(opened.desk, opened.openai)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    running = asyncio.create_task(server.serve([door]))
    url = f"http://127.0.0.1:{door.getsockname()[1]}"
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30) as client:
        yield Served(url, app, opened.desk, model, client)
    server.should_exit = True
    await running
    await opened.close()


def overloaded(retry_after_s: float) -> Overloaded:
    return Overloaded("full", retry_after_s=retry_after_s)
