"""A crowd over HTTP, each customer with one message in a session of its own."""

import asyncio
import itertools
import json
import random
import re
from collections.abc import Mapping

import aiohttp

from bench.fairness.load import PATIENCE_S, TENANTS, Round, Turn, arrivals

MESSAGES = (
    "Where is my order KW-1009? It is late again",
    "I would like to know when my parcel KW-1009 comes",
    "the parcel KW-1009 has not arrived, what now?",
    "Can you tell me about my order KW-1009, I am waiting since last week",
)
CUSTOMER = "C-003"
BROWNOUT = re.compile(rb'"brownout":(\d)')
TIMEOUT_S = 90.0
OPENED_AT_ONCE = 8  # sessions, all before the first message is due: what is measured is the turn
Seat = tuple[str, Mapping[str, str]]  # where a session's turns go, and its token's header


class HttpCrowd:
    """Implements `load.Crowd`."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self._url = http, url
        self._numbers = itertools.count()
        self._tokens: dict[str, str] = {}

    async def come(self, rates: Mapping[str, float], seconds: float, rng: random.Random, *, deadline_s: float) -> Round:
        for tenant in rates:
            await self._token(tenant)
        due, few = list(arrivals(rates, seconds, rng)), asyncio.Semaphore(OPENED_AT_ONCE)

        async def opened(tenant: str) -> Seat:
            async with few:
                return await self._session(tenant)

        seats = await asyncio.gather(*(opened(tenant) for _, tenant in due))
        began = asyncio.get_running_loop().time() + 0.5
        said = (self._say(seat, began + at, tenant, deadline_s) for seat, (at, tenant) in zip(seats, due, strict=True))
        return Round(await asyncio.gather(*said), seconds)

    async def saturate(self, at_once: int, seconds: float) -> float:
        loop, answered = asyncio.get_running_loop(), 0
        half, end = loop.time() + seconds / 2, loop.time() + seconds

        async def one(tenant: str) -> None:
            nonlocal answered
            while loop.time() < end:
                turn = await self._say(await self._session(tenant), loop.time(), tenant, PATIENCE_S)
                answered += turn.status == 200 and half <= loop.time() < end

        await asyncio.gather(*(one(TENANTS[number % len(TENANTS)]) for number in range(at_once)))
        return answered / (seconds / 2)

    async def _say(self, seat: Seat, due: float, tenant: str, deadline_s: float) -> Turn:
        loop, number = asyncio.get_running_loop(), next(self._numbers)
        path, headers = seat
        await asyncio.sleep(max(0.0, due - loop.time()))
        text = f"{MESSAGES[number % len(MESSAGES)]} ({number})"
        late = {"Keepword-Deadline-Ms": str(round(deadline_s * 1000))}
        async with self._http.post(path, json={"text": text}, headers={**headers, **late}) as answer:
            body = await answer.read()
            found = BROWNOUT.search(body)
            retry_s = float(answer.headers.get("Retry-After", 0))
            return Turn(tenant, answer.status, loop.time() - due, int(found[1]) if found else 0, retry_s)

    async def _session(self, tenant: str) -> Seat:
        body = {"customer_token": await self._token(tenant), "locale": "en"}
        async with self._http.post(f"{self._url}/v1/sessions", json=body) as answer:
            answer.raise_for_status()
            opened = await answer.json()
        return f"{self._url}/v1/sessions/{opened['session_id']}/turns", {"Authorization": f"Bearer {opened['session_token']}"}

    async def _token(self, tenant: str) -> str:
        if tenant not in self._tokens:
            body = {"customer_id": CUSTOMER, "tenant": tenant}
            async with self._http.post(f"{self._url}/v1/dev/customer-tokens", json=body) as answer:
                answer.raise_for_status()
                self._tokens[tenant] = json.loads(await answer.read())["customer_token"]
        return self._tokens[tenant]


def client() -> aiohttp.ClientSession:
    """Connections without a bound: a client that queues by itself would hide what the desk does."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
