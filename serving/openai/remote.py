"""Both ends of an answer's way between replicas: parts are joined while several are ready, and never changed."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import groupby
from typing import Any, Final, cast

from ray.serve.handle import DeploymentHandle

from agents.domain.errors import EngineUnavailable, KeepwordError
from serving.engine.handle import GRACE_S, translating
from serving.engine.wire import Failure, from_wire, to_wire
from serving.openai.contract import Call, Load, Part
from serving.openai.errors import SHAPES

Sent = Part | Failure
LOAD_DEADLINE_S: Final = 10.0


class RemoteModel:
    """`RawModel` over a Ray Serve handle of an engine."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        options: dict[str, Any] = {"method_name": "openai", "stream": True}
        if call.session_id is not None:
            options["session_id"] = call.session_id
        return _received(self._handle.options(**options).remote(call), call.deadline_s)

    async def load(self) -> Load:
        with translating(LOAD_DEADLINE_S):
            async with asyncio.timeout(LOAD_DEADLINE_S):
                load: Load = await self._handle.options(method_name="load").remote()
        return load


class RemoteDesk:
    """`DeskAnswers` over the handle of a desk's application, found by name at the first call: the desk starts after the
    engine."""

    def __init__(self, application: str) -> None:
        self._application = application

    def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        from ray import serve

        handle = serve.get_app_handle(self._application)
        return _received(handle.options(method_name="converse", stream=True).remote(call), call.deadline_s)


async def sent(parts: AsyncGenerator[Part, None]) -> AsyncGenerator[Sent, None]:
    """The sending end, inside a replica: failures as values; bytes that are ready together go together."""
    ready: list[Sent] = []
    some = asyncio.Event()

    async def fill() -> None:
        try:
            async with aclosing(parts):
                async for part in parts:
                    ready.append(part)
                    some.set()
        except KeepwordError as error:
            ready.append(to_wire(error))

    filling = asyncio.create_task(fill())
    filling.add_done_callback(lambda _: some.set())
    try:
        while not (filling.done() and not ready):
            await some.wait()
            some.clear()
            taken = ready.copy()
            ready.clear()
            for are_bytes, group in groupby(taken, lambda part: isinstance(part, bytes)):
                for part in [b"".join(cast("Iterator[bytes]", group))] if are_bytes else group:
                    yield part
        filling.result()
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)


async def _received(stream: Any, deadline_s: float) -> AsyncGenerator[Part, None]:
    """The receiving end. Raises what the other side raised, EngineUnavailable when it was lost. Closing it cancels the call."""
    deadline = asyncio.get_running_loop().time() + deadline_s + GRACE_S
    try:
        while True:
            with translating(deadline_s):
                async with asyncio.timeout_at(deadline):
                    part: Sent = await anext(stream)
            if isinstance(part, Failure):
                raise _error(part)
            yield part
    except StopAsyncIteration:
        return
    finally:
        stream.cancel()


def _error(failure: Failure) -> KeepwordError:
    """The error that was sent; one the engine's wire has no class for keeps its type, which is all that HTTP needs of it."""
    known = from_wire(failure)
    if isinstance(known, EngineUnavailable) and failure.type in SHAPES and failure.type != EngineUnavailable.type:
        known = KeepwordError(failure.message, hint=failure.hint)
        known.type = failure.type
    return known
