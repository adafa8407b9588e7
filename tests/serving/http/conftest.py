"""A desk over the real shop, SQLite and index, served by uvicorn on loopback. Only the model is scripted."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import uvicorn

from agents.domain.errors import EngineUnavailable
from agents.ports import ModelChunk, ModelRequest, ModelResult
from bench.processes import listening
from serving.app import create_app
from serving.clock import SystemClock
from serving.http.desk import Desk
from serving.scripted import ScriptedModel
from serving.settings import Settings
from serving.wiring import open_desk

MAX_TEXT_CHARS, MAX_BODY_BYTES = 500, 30_000
HELD = "please hold the line"  # a message whose drafts wait until the test lets them go


class HoldingModel:
    """Plans nothing (retrieval decides) and drafts a courtesy; drafts for HELD wait for `go_on`."""

    def __init__(self) -> None:
        self.go_on, self.waiting = asyncio.Event(), asyncio.Event()
        self._scripted = ScriptedModel(_say)

    async def generate(self, request: ModelRequest) -> ModelResult:
        await self._hold(request)
        return await self._scripted.generate(request)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        await self._hold(request)
        async for chunk in self._scripted.stream(request):
            yield chunk

    async def _hold(self, request: ModelRequest) -> None:
        if any(HELD in message.content for message in request.messages):
            self.waiting.set()
            await self.go_on.wait()


def _say(request: ModelRequest) -> str:
    if request.structure is not None:
        raise EngineUnavailable("no plan from this model")
    return "Thank you for writing to us."


@dataclass
class Served:
    """A running desk and one client of it. `visit` opens a session and gives its turns' path and headers."""

    http: httpx.AsyncClient
    desk: Desk
    model: HoldingModel
    engine_down: list[str] = field(default_factory=list)

    async def visit(self, customer_id: str = "C-001", locale: str = "en") -> tuple[str, dict[str, str]]:
        token = (await self.http.post("/v1/dev/customer-tokens", json={"customer_id": customer_id})).json()["customer_token"]
        opened = (await self.http.post("/v1/sessions", json={"customer_token": token, "locale": locale})).json()
        return f"/v1/sessions/{opened['session_id']}", {"Authorization": f"Bearer {opened['session_token']}"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder: Path = tmp_path_factory.mktemp("desk")
    settings = Settings.load(data_dir=folder, max_text_chars=MAX_TEXT_CHARS, max_body_bytes=MAX_BODY_BYTES)
    model = HoldingModel()
    down: list[str] = []

    async def engine_ready() -> None:
        if down:
            raise EngineUnavailable(down[0])

    opened = await open_desk(settings, model, SystemClock(), engine_ready=engine_ready)
    door = listening()
    server = uvicorn.Server(
        uvicorn.Config(create_app(opened.desk, opened.openai), log_level="warning", timeout_graceful_shutdown=2)
    )
    running = asyncio.create_task(server.serve([door]))
    url = f"http://127.0.0.1:{door.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        yield Served(http, opened.desk, model, down)
    server.should_exit = True
    await running
    await opened.close()


@pytest.fixture(autouse=True)
def _hold_again(served: Served) -> None:
    served.model.go_on.clear()
    served.model.waiting.clear()
    served.engine_down.clear()
