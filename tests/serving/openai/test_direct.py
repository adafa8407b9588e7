"""An engine's replica under Ray Serve that OpenAI clients reach without a desk between, and one they reach through a desk."""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import ray
from ray import serve

from agents.ports import ModelRequest
from bench.processes import free_port
from serving.engine.deployment import CHAT_PREFIX, model_app
from serving.openai.contract import Call, Head
from serving.openai.remote import RemoteModel
from serving.scripted import ScriptedModel
from serving.settings import Settings
from serving.wiring import open_engine_door

MESSAGES: Any = [{"role": "user", "content": "two words"}]


def echo(request: ModelRequest) -> str:
    return request.messages[-1].content


@dataclass(frozen=True, slots=True)
class Direct:
    url: str
    remote: RemoteModel


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Direct]:
    folder: Path = tmp_path_factory.mktemp("direct")
    port = free_port()
    settings = Settings.load(data_dir=folder, model="scripted", port=port)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        app = model_app(partial(ScriptedModel, echo), open_door=partial(open_engine_door, settings))
        handle = serve.run(app, name="direct-test", route_prefix=CHAT_PREFIX)
        yield Direct(f"http://127.0.0.1:{port}", RemoteModel(handle))
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


async def test_the_replica_answers_openais_client_itself(direct: Direct) -> None:
    async with openai.AsyncOpenAI(base_url=f"{direct.url}/v1", api_key="none") as client:
        stream = await client.chat.completions.create(model="scripted", messages=MESSAGES, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "two words"
        with pytest.raises(openai.BadRequestError) as raised:
            await client.chat.completions.create(model="scripted", messages=MESSAGES, extra_body={"flavour": 1})
    assert raised.value.param == "flavour"


async def test_the_replica_says_what_it_holds(direct: Direct) -> None:
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{direct.url}/v1/chat/load")).json() == {"unfinished": 0}
        assert (await http.get(f"{direct.url}/v1/chat/none")).json()["error"]["code"] == "not-found"


async def test_a_call_through_a_handle_gives_the_same_answer(direct: Direct) -> None:
    parts = [part async for part in direct.remote.answer(Call("chat", {"model": "scripted", "messages": MESSAGES}))]
    assert isinstance(parts[0], Head)
    assert b"two words" in b"".join(part for part in parts[1:] if isinstance(part, bytes))
    assert (await direct.remote.load()).unfinished == 0


async def test_leaving_a_call_through_a_handle_frees_its_place(direct: Direct) -> None:
    stream: AsyncGenerator[Any, None] = direct.remote.answer(
        Call("chat", {"model": "scripted", "messages": MESSAGES, "stream": True})
    )
    await anext(stream)
    await stream.aclose()
    assert (await direct.remote.load()).unfinished == 0
