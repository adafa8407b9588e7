"""An answer on its way to the client, message by message."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from agents.domain.errors import EngineUnavailable
from serving.openai.contract import JSON, SSE, Head, Part
from serving.openai.passing import Passed


class Wire:
    """An ASGI connection: what was sent, and a client that leaves when `leave` is set."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.leave = asyncio.Event()

    async def receive(self) -> Message:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    async def answer(self, parts: AsyncGenerator[Part, None]) -> None:
        await Passed(parts)({"type": "http"}, self.receive, self.send)


async def test_bytes_pass_as_they_are_and_each_as_it_comes() -> None:
    async def parts() -> AsyncGenerator[Part, None]:
        yield Head(SSE)
        yield b"data: 1\n\n"
        yield b"data: 2\n\n"

    wire = Wire()
    await wire.answer(parts())
    assert [message.get("body") for message in wire.sent[1:]] == [b"data: 1\n\n", b"data: 2\n\n", b""]
    assert dict(wire.sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")


async def test_an_error_within_a_stream_is_its_last_event() -> None:
    async def parts() -> AsyncGenerator[Part, None]:
        yield Head(SSE)
        yield b"data: 1\n\n"
        raise EngineUnavailable("gone")

    wire = Wire()
    await wire.answer(parts())
    assert wire.body.startswith(b'data: 1\n\ndata: {"error":{"message":"gone"')
    assert wire.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("begun", [False, True])
async def test_any_other_error_is_the_apps_to_answer(begun: bool) -> None:
    async def parts() -> AsyncGenerator[Part, None]:
        if begun:
            yield Head(JSON)
        raise EngineUnavailable("gone")
        yield b""

    with pytest.raises(EngineUnavailable):
        await Wire().answer(parts())


async def test_a_client_that_leaves_closes_the_answer() -> None:
    closed = asyncio.Event()
    wire = Wire()

    async def parts() -> AsyncGenerator[Part, None]:
        try:
            yield Head(SSE)
            wire.leave.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    await asyncio.wait_for(wire.answer(parts()), 5)
    assert closed.is_set()
