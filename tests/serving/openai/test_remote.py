"""Parts on their way between replicas."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from agents.domain.errors import BadInput, EngineUnavailable, NotAllowed
from serving.engine.wire import Failure, to_wire
from serving.openai.contract import JSON, Head, Part
from serving.openai.remote import _error, sent


async def test_parts_that_are_ready_together_go_together_and_the_first_does_not_wait() -> None:
    go_on = asyncio.Event()

    async def parts() -> AsyncGenerator[Part, None]:
        yield Head(JSON)
        yield b"first"
        await go_on.wait()
        yield b"a"
        yield b"b"
        yield b"c"

    received = sent(parts())
    assert await anext(received) == Head(JSON)
    assert await anext(received) == b"first"
    go_on.set()
    assert [part async for part in received] == [b"abc"]


async def test_closing_the_sending_end_closes_what_it_sends() -> None:
    closed = asyncio.Event()

    async def parts() -> AsyncGenerator[Part, None]:
        try:
            yield b"one"
            await asyncio.Event().wait()
        finally:
            closed.set()

    received = sent(parts())
    await anext(received)
    await received.aclose()
    assert closed.is_set()


async def test_an_error_is_sent_as_a_value_after_what_came_before_it() -> None:
    async def parts() -> AsyncGenerator[Part, None]:
        yield b"one"
        raise BadInput("no", field="x")

    assert [part async for part in sent(parts())] == [b"one", Failure("bad-input", "no", "", "x")]


@pytest.mark.parametrize("error", [BadInput("no", field="x"), NotAllowed("no"), EngineUnavailable("gone")])
def test_an_error_has_its_type_on_the_other_side(error: BadInput | NotAllowed | EngineUnavailable) -> None:
    assert _error(to_wire(error)).type == error.type
