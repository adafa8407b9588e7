"""Every answer is counted by route and status, streams while they are open, and whoever else answered or left."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import Message

from serving.http.body import BodyGuard
from serving.http.observed import HttpObserver
from serving.observe.metrics import Metrics
from serving.observe.traces import NO_TRACES


class Site:
    """An app under the observer, with its metrics."""

    def __init__(self) -> None:
        self.metrics, self.go_on = Metrics(), asyncio.Event()
        self.app = Starlette(
            routes=[
                Route("/items/{item}", self._item),
                Route("/broken", self._broken),
                Route("/stream", self._stream),
                Route("/body", self._item, methods=["POST"]),
                Mount("/files", Starlette(routes=[Route("/{name}", self._item)])),
            ]
        )
        self.app.add_middleware(BodyGuard, max_bytes=10)
        self.app.add_middleware(HttpObserver, metrics=self.metrics.http, traces=NO_TRACES)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://site")

    async def _item(self, _request: Request) -> Response:
        return PlainTextResponse("item")

    async def _broken(self, _request: Request) -> Response:
        raise ZeroDivisionError

    async def _stream(self, _request: Request) -> Response:
        async def events() -> AsyncIterator[str]:
            yield "data: 1\n\n"
            await self.go_on.wait()

        return StreamingResponse(events(), media_type="text/event-stream")

    def count(self, method: str, route: str, status: int) -> float | None:
        labels = {"method": method, "route": route, "status": str(status)}
        return self.metrics.book.registry.get_sample_value("keepword_http_requests_total", labels)

    def streams(self) -> float | None:
        return self.metrics.book.registry.get_sample_value("keepword_streams_open")


@pytest.fixture
def site() -> Site:
    return Site()


async def test_requests_are_counted_by_the_routes_pattern(site: Site) -> None:
    for path in ("/items/1", "/items/2", "/nowhere/7"):
        await site.http.get(path)
    assert site.count("GET", "/items/{item}", 200) == 2
    assert site.count("GET", "unmatched", 404) == 1
    seconds = site.metrics.book.registry.get_sample_value
    assert seconds("keepword_http_request_seconds_count", {"route": "/items/{item}"}) == 2


async def test_what_a_layer_refuses_and_what_breaks_is_counted_too(site: Site) -> None:
    assert (await site.http.post("/body", content=b"x" * 11)).status_code == 413
    assert (await site.http.get("/broken")).status_code == 500
    assert site.count("POST", "unmatched", 413) == 1
    assert site.count("GET", "/broken", 500) == 1


async def test_a_method_nobody_knows_makes_no_series_of_its_own(site: Site) -> None:
    for method in ("BREW", "STEEP"):
        await site.http.request(method, "/items/1")
    assert site.count("other", "/items/{item}", 405) == 2


async def test_a_stream_is_open_until_it_ends(site: Site) -> None:
    sent: asyncio.Queue[Message] = asyncio.Queue()
    scope = {"type": "http", "method": "GET", "path": "/stream", "headers": [], "query_string": b"", "http_version": "1.1"}

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    running = asyncio.create_task(site.app({**scope, "root_path": "", "server": ("site", 80)}, receive, sent.put))
    while (await sent.get())["type"] != "http.response.body":
        pass
    assert site.streams() == 1
    site.go_on.set()
    await running
    assert site.streams() == 0
    assert site.count("GET", "/stream", 200) == 1


async def test_a_client_that_leaves_before_the_answer_is_counted_as_gone(site: Site) -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def nobody(_message: Message) -> None:
        raise AssertionError("nobody is there")

    scope = {"type": "http", "method": "POST", "path": "/body", "headers": [], "query_string": b"", "http_version": "1.1"}
    await site.app({**scope, "root_path": "", "server": ("site", 80)}, gone, nobody)
    assert site.count("POST", "unmatched", 499) == 1
