"""Two desks over two engines under the real Serve: who gets what, who goes on when one is killed, how one goes in peace."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from httpx_sse import aconnect_sse
from ray import serve

from agents.domain.errors import InvalidOutput, KeepwordError
from agents.ports import Message, ModelChunk, ModelRequest, ModelResult
from bench.processes import free_port
from serving.deployment import desk_app
from serving.engine.deployment import SLACK, model_app
from serving.engine.handle import EngineHandle
from serving.scaling import Scaling
from serving.scripted import ScriptedModel
from serving.settings import Settings
from serving.wiring import prepare

WAIT_S = 60.0
HELD = "please hold the line"  # a message whose answer waits at the gate


class Recording:
    """A model that says who it is: the text is the replica's process id."""

    def __init__(self, gate: Path) -> None:
        self._gate = gate

    async def generate(self, request: ModelRequest) -> ModelResult:
        if request.structure is not None:
            raise InvalidOutput("no plan from this model")
        if any(HELD in message.content for message in request.messages):
            reader, writer = await asyncio.open_unix_connection(self._gate)
            writer.write(f"{os.getpid()}\n".encode())
            await reader.read()
            writer.close()
        return await ScriptedModel([str(os.getpid())]).generate(request)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        result = await self.generate(request)
        yield ModelChunk(result.text, result)


@asynccontextmanager
async def gate(path: Path) -> AsyncGenerator[asyncio.Queue[int], None]:
    """Process ids of the models that wait; they go on when this ends."""
    arrived: asyncio.Queue[int] = asyncio.Queue()
    waiting: list[asyncio.StreamWriter] = []

    async def arrives(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting.append(writer)
        arrived.put_nowait(int(await reader.readline()))

    server = await asyncio.start_unix_server(arrives, path)
    try:
        yield arrived
    finally:
        server.close()
        for writer in waiting:
            writer.close()
        await asyncio.to_thread(path.unlink)


@dataclass(frozen=True)
class Fleet:
    url: str
    gate: Path
    engine: EngineHandle
    application: serve.Application

    async def asked(self, text: str, session_id: str | None = None) -> int:
        """Which process answers."""
        request = ModelRequest((Message("user", text),), max_tokens=8, session_id=session_id)
        return int((await self.engine.generate(request)).text)

    async def replace(self) -> None:
        await asyncio.to_thread(serve.run, self.application, name="keepword", route_prefix="/")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder, port = tmp_path_factory.mktemp("fleet"), free_port()
    settings = Settings.load(data_dir=folder / "state", port=port, desk_replicas=2, engine_replicas=2)
    asyncio.run(prepare(settings))
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        engine = model_app(partial(Recording, folder / "gate"), scale=Scaling(2, None, 1.0))
        handle: Any = serve.run(engine, name="engine", route_prefix=None)
        application = desk_app(settings, handle)
        serve.run(application, name="keepword", route_prefix="/")
        yield Fleet(f"http://127.0.0.1:{port}", folder / "gate", EngineHandle(handle), application)
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


async def opened(http: httpx.AsyncClient) -> tuple[str, dict[str, str]]:
    session = (await http.post("/v1/sessions", json={})).json()
    return f"/v1/sessions/{session['session_id']}", {"Authorization": f"Bearer {session['session_token']}"}


async def test_a_session_and_a_prompt_stay_with_one_engine_and_all_engines_have_some(fleet: Fleet) -> None:
    sessions = [f"ses_{number}" for number in range(12)]
    first = [await fleet.asked("hello", session) for session in sessions]
    assert first == [await fleet.asked("good bye", session) for session in sessions]
    assert len(set(first)) == 2
    prompts = [f"{number} " * 600 for number in range(12)]
    first = [await fleet.asked(f"{prompt} one end") for prompt in prompts]
    assert first == [await fleet.asked(f"{prompt} another") for prompt in prompts]
    assert len(set(first)) == 2


async def test_what_is_too_much_for_one_engine_goes_to_the_other(fleet: Fleet) -> None:
    async with asyncio.timeout(WAIT_S), gate(fleet.gate) as arrived:
        held = [asyncio.create_task(fleet.asked(HELD, "ses_busy")) for _ in range(4 * SLACK)]
        engines = Counter([await arrived.get() for _ in held])
    assert len(engines) == 2
    assert max(engines.values()) <= 3 * SLACK
    await asyncio.gather(*held)


async def test_the_sessions_of_a_killed_engine_go_on_elsewhere(fleet: Fleet) -> None:
    killed = now = await fleet.asked("hello", "ses_1")
    os.kill(killed, signal.SIGKILL)
    async with asyncio.timeout(WAIT_S):
        while now == killed:
            try:
                now = await fleet.asked("hello", "ses_1")
            except KeepwordError:
                continue


async def test_a_rolling_restart_ends_streams_where_they_can_be_resumed_and_finishes_turns(fleet: Fleet) -> None:
    async with httpx.AsyncClient(base_url=fleet.url, timeout=WAIT_S) as http:
        path, headers = await opened(http)
        async with gate(fleet.gate) as arrived:
            turn = asyncio.create_task(http.post(f"{path}/turns", json={"text": HELD}, headers=headers))
            await arrived.get()
            async with aconnect_sse(http, "GET", f"{path}/events", headers=dict(headers)) as source:
                replacing = asyncio.create_task(fleet.replace())
                events = [(sse.event, sse.id) async for sse in source.aiter_sse()]
        assert events[-1] == ("stream.moved", events[-2][1])
        assert (await turn).json()["outcome"] == "done"
        await replacing
        resumed = headers | {"Last-Event-ID": events[-1][1]}
        async with asyncio.timeout(WAIT_S), aconnect_sse(http, "GET", f"{path}/events", headers=resumed) as source:
            again = asyncio.create_task(http.post(f"{path}/turns", json={"text": "hello"}, headers=headers))
            answered = (await again).json()
            done_id = await anext(sse.id async for sse in source.aiter_sse() if sse.event == "turn.done")
        assert int(done_id) > int(events[-1][1])
        assert answered["outcome"] == "done"
