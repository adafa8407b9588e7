"""The simulated engine behind OpenAI's HTTP API, as a process of its own: what gateways are put in front of to compare them.

    python -m bench.simulator.server --profile instant --port 9000

Plain ASGI, so that what is measured is the gateway. `/metrics` has vLLM's names for the engine's numbers.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
import uvicorn

from agents.domain.errors import BadInput, DeadlineExceeded, KeepwordError
from bench.simulator.model import SEED, SimulatedModel
from bench.simulator.openai_wire import Body, Kind, Writer, error_body, models_body, read_body, request_of
from bench.simulator.profile import load_profile

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ENDPOINTS: Final[dict[str, Kind]] = {"/v1/chat/completions": "chat", "/v1/completions": "text"}
JSON: Final = (b"content-type", b"application/json")
EVENTS: Final = (b"content-type", b"text/event-stream; charset=utf-8")
TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")


class Server:
    """The ASGI application over one model, served under `name`."""

    def __init__(self, model: SimulatedModel, name: str) -> None:
        self._model, self._name = model, name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        if method == "POST" and path in ENDPOINTS:
            await self._complete(ENDPOINTS[path], receive, send)
        elif method == "GET" and path == "/v1/models":
            await _answer(send, 200, JSON, models_body(self._name, self._model.profile.limits.max_model_len))
        elif method == "GET" and path in ("/health", "/healthz", "/ping"):
            await _answer(send, 200, TEXT, b"")
        elif method == "GET" and path == "/metrics":
            await _answer(send, 200, TEXT, self._metrics())
        else:
            await _answer(send, 404, JSON, error_body(f"{method} {path} is not served", "not_found"))

    async def _complete(self, kind: Kind, receive: Receive, send: Send) -> None:
        raw = await _whole_body(receive)
        leaving = _cancelled_when_gone(receive)
        try:
            body = read_body(raw)
            await (self._stream if body.stream else self._once)(body, kind, send)
        except asyncio.CancelledError:
            if not leaving.done():
                raise  # not the client: somebody stops the server
        except BadInput as error:
            await _answer(send, 400, JSON, error_body(error.message, "invalid_request_error", error.field))
        except DeadlineExceeded as error:
            await _answer(send, 504, JSON, error_body(error.message, error.type))
        except KeepwordError as error:
            await _answer(send, 500, JSON, error_body(error.message, error.type))
        finally:
            leaving.cancel()

    async def _once(self, body: Body, kind: Kind, send: Send) -> None:
        result = await self._model.generate(request_of(body, kind))
        await _answer(send, 200, JSON, Writer(kind, self._name).whole(result))

    async def _stream(self, body: Body, kind: Kind, send: Send) -> None:
        """What goes wrong before the first token is a status; after it, the connection just ends."""
        writer = Writer(kind, self._name)
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        async with aclosing(self._model.stream(request_of(body, kind))) as chunks:
            first = await anext(chunks)
            await send({"type": "http.response.start", "status": 200, "headers": [EVENTS]})
            said = writer.opening() + (writer.piece(first.text) if first.text else b"")
            result = first.result
            if said:
                await send({"type": "http.response.body", "body": said, "more_body": True})
            async for chunk in chunks:
                result = chunk.result
                if chunk.text:
                    await send({"type": "http.response.body", "body": writer.piece(chunk.text), "more_body": True})
        assert result is not None, "a stream ends with its result"
        await send({"type": "http.response.body", "body": writer.closing(result, include_usage=include_usage)})

    def _metrics(self) -> bytes:
        stats = asdict(self._model.stats())
        return "".join(f'vllm:{name}{{model_name="{self._name}"}} {value}\n' for name, value in stats.items()).encode()


async def _whole_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _cancelled_when_gone(receive: Receive) -> "asyncio.Task[None]":
    """A client that leaves ends the request's task, and with it its place in the engine."""
    serving = asyncio.current_task()
    assert serving is not None

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    def left(task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            serving.cancel()

    leaving = asyncio.create_task(gone())
    leaving.add_done_callback(left)
    return leaving


async def _answer(send: Send, status: int, kind: tuple[bytes, bytes], body: bytes) -> None:
    headers = [kind, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(
    profile: Annotated[str, typer.Option(help="A name from `bench.simulator.profile.profile_names`.")] = "cpu",
    port: Annotated[int, typer.Option(help="Port of 127.0.0.1.")] = 9000,
    name: Annotated[str, typer.Option(help="The model's name in the API.")] = "simulated",
    seed: Annotated[int, typer.Option(help="Seed of what is said.")] = SEED,
) -> None:
    """Serve one simulated engine until SIGINT or SIGTERM."""
    model = SimulatedModel(load_profile(profile), seed=seed)
    uvicorn.run(
        Server(model, name),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="warning",
        access_log=False,
        backlog=8192,
    )


if __name__ == "__main__":
    typer.run(main)
