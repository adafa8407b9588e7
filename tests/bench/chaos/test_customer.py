"""The customer of `bench chaos`: what it does when streams break and requests are refused."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bench.chaos.customer import Customer, client


class Desk:
    """Answers a turn by the script: a status, or a list of (id, event) after which the stream is cut or ends."""

    def __init__(self) -> None:
        self.posts: list[int | list[tuple[int, str]]] = []
        self.resumes: list[list[tuple[int, str]]] = []
        self.keys: list[str] = []
        self.last_ids: list[str] = []

    async def token(self, _request: web.Request) -> web.Response:
        return web.json_response({"customer_token": "t"})

    async def session(self, _request: web.Request) -> web.Response:
        return web.json_response({"session_id": "ses_1", "session_token": "s"}, status=201)

    async def turn(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers["Idempotency-Key"])
        script = self.posts.pop(0)
        if isinstance(script, int):
            return web.json_response({}, status=script)
        return await _stream(request, script)

    async def events(self, request: web.Request) -> web.StreamResponse:
        self.last_ids.append(request.headers["Last-Event-ID"])
        return await _stream(request, self.resumes.pop(0))


async def _stream(request: web.Request, script: list[tuple[int, str]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event_id, event in script:
        await response.write(f'id: {event_id}\nevent: {event}\ndata: {{"error": "interrupted"}}\n\n'.encode())
    return response


@pytest.fixture
async def desk() -> AsyncIterator[tuple[Desk, Customer]]:
    desk, app = Desk(), web.Application()
    app.router.add_post("/v1/dev/customer-tokens", desk.token)
    app.router.add_post("/v1/sessions", desk.session)
    app.router.add_post("/v1/sessions/ses_1/turns", desk.turn)
    app.router.add_get("/v1/sessions/ses_1/events", desk.events)
    async with TestServer(app) as server, client() as http:
        customer = Customer(http, str(server.make_url("")).rstrip("/"))
        await customer.open("C-001")
        yield desk, customer


async def test_a_refused_message_is_sent_again_under_the_same_key(desk: tuple[Desk, Customer]) -> None:
    server, customer = desk
    server.posts = [503, 409, [(2, "turn.started"), (3, "action"), (4, "turn.done")]]
    said = await customer.say("hello")
    assert (said.end, said.acted, dict(said.troubles)) == ("done", True, {"http 503": 1, "http 409": 1})
    assert len(set(server.keys)) == 1
    assert len(server.keys) == 3


async def test_a_cut_stream_is_resumed_after_the_last_event_seen(desk: tuple[Desk, Customer]) -> None:
    server, customer = desk
    server.posts = [[(2, "turn.started"), (3, "plan")]]
    server.resumes = [[(4, "turn.restarted"), (4, "stream.moved")], [(5, "turn.done")]]
    said = await customer.say("hello")
    assert (said.end, said.restarted, said.resumed, server.last_ids) == ("done", True, 2, ["3", "4"])
    assert len(server.keys) == 1


async def test_a_new_session_begins_to_count_its_events_anew(desk: tuple[Desk, Customer]) -> None:
    server, customer = desk
    server.posts = [[(90, "turn.done")], [(2, "turn.started")]]
    server.resumes = [[(3, "turn.done")]]
    await customer.say("hello")
    await customer.open("C-002")
    assert (await customer.say("hello")).end == "done"
    assert server.last_ids == ["2"]


async def test_an_apology_is_an_end_and_says_what_it_was(desk: tuple[Desk, Customer]) -> None:
    server, customer = desk
    server.posts = [[(2, "turn.started"), (3, "error")]]
    assert (await customer.say("hello")).end == "interrupted"
