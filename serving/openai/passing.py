"""Sends an answer's parts as they come, unchanged, and closes it the moment the client leaves."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agents.domain.errors import KeepwordError
from serving.http.streamed import until_left
from serving.openai.contract import DONE, SSE, Head, Part
from serving.openai.errors import in_stream

STREAM_HEADERS: Mapping[bytes, bytes] = {b"cache-control": b"no-store", b"x-accel-buffering": b"no"}


class Passed(Response):
    """An ASGI response over `parts`. An error before the head is raised to the app's handlers: nothing was sent by then. One
    within a stream is its last event."""

    def __init__(self, parts: AsyncGenerator[Part, None]) -> None:
        self._parts = parts
        self.status_code = 200
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await until_left(self._send(send), receive)

    async def _send(self, send: Send) -> None:
        begun: Head | None = None
        try:
            async with aclosing(self._parts) as parts:
                async for part in parts:
                    if isinstance(part, Head):
                        await send({"type": "http.response.start", "status": self.status_code, "headers": _headers(part)})
                        begun = part
                    else:
                        await send({"type": "http.response.body", "body": part, "more_body": True})
        except KeepwordError as error:
            if begun is None or begun.media_type != SSE:
                raise
            await send({"type": "http.response.body", "body": in_stream(error) + DONE, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _headers(head: Head) -> list[tuple[bytes, bytes]]:
    kind = b"text/event-stream; charset=utf-8" if head.media_type == SSE else head.media_type.encode()
    return [(b"content-type", kind), *(STREAM_HEADERS.items() if head.media_type == SSE else ())]
