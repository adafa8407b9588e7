"""A desk that answers over the real wire, and misbehaves as told: what the load generator is tested against."""

import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Turn = Callable[["Desk", web.Request, int], Awaitable[web.StreamResponse]]


@dataclass
class Desk:
    """`turn` answers turn number n (from 0, over all sessions). What came in is counted."""

    turn: Turn
    url: str = ""
    turns: int = 0
    sessions: list[str] = field(default_factory=list)
    locales: Counter[str] = field(default_factory=Counter)
    tenants: Counter[str] = field(default_factory=Counter)
    keys: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    async def token(self, request: web.Request) -> web.Response:
        body = await request.json()
        return web.json_response({"customer_token": f"{body['customer_id']}/{body['tenant']}"})

    async def open(self, request: web.Request) -> web.Response:
        body = await request.json()
        session_id = f"ses_{len(self.sessions):032x}"
        self.sessions.append(session_id)
        self.locales[body["locale"]] += 1
        self.tenants[body["customer_token"].partition("/")[2]] += 1
        return web.json_response({"session_id": session_id, "session_token": "t"}, status=201)

    async def say(self, request: web.Request) -> web.StreamResponse:
        number, self.turns = self.turns, self.turns + 1
        self.keys.append(request.headers["Idempotency-Key"])
        self.texts.append((await request.json())["text"])
        return await self.turn(self, request, number)


@asynccontextmanager
async def running(turn: Turn) -> AsyncGenerator[Desk, None]:
    desk = Desk(turn)
    app = web.Application()
    app.router.add_post("/v1/dev/customer-tokens", desk.token)
    app.router.add_post("/v1/sessions", desk.open)
    app.router.add_post("/v1/sessions/{id}/turns", desk.say)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    desk.url = f"http://{host}:{port}"
    try:
        yield desk
    finally:
        await runner.cleanup()


async def answer(request: web.Request, events: list[tuple[str, dict[str, object]]]) -> web.StreamResponse:
    """Events as the desk streams them."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number, (event, data) in enumerate(events, 1):
        text = json.dumps({"turn_id": "turn_1", **data}, separators=(",", ":"))
        await response.write(f"id: {number}\nevent: {event}\ndata: {text}\n\n".encode())
    await response.write_eof()
    return response


def whole() -> list[tuple[str, dict[str, object]]]:
    """A turn that goes well."""
    return [
        ("turn.started", {}),
        ("reply.sentence", {"text": "Sorry."}),
        ("reply.sentence", {"text": "Done."}),
        ("turn.done", {"usage": {"llm_calls": 2}}),
    ]


async def prompt(_desk: Desk, request: web.Request, _number: int) -> web.StreamResponse:
    return await answer(request, whole())
