"""Customers of several tenants who come at their own rates, whatever the desk does (open loop), each with one message."""

import asyncio
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from bench.result import quantile

MESSAGES = (
    "Where is my order KW-1009? It is late again",
    "I would like to know when my parcel KW-1009 comes",
    "the parcel KW-1009 has not arrived, what now?",
    "Can you tell me about my order KW-1009, I am waiting since last week",
)
CUSTOMER = "C-003"
BROWNOUT = re.compile(rb'"brownout":(\d)')
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One message. Times in seconds; `took_s` counts from when it was due, not from when it was sent."""

    tenant: str
    status: int
    took_s: float
    brownout: int = 0
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one load. `lasted_s`: until the last message that was due."""

    turns: Sequence[Turn]
    lasted_s: float

    def p(self, q: float, *, but: str = "") -> float:
        """The q-quantile of the answered turns' times, without the tenant `but`."""
        return quantile([turn.took_s for turn in self.turns if turn.status == 200 and turn.tenant != but], q)

    def goodput(self, slo_s: float) -> float:
        """Turns answered within the SLO, per second."""
        return sum(turn.status == 200 and turn.took_s <= slo_s for turn in self.turns) / self.lasted_s

    def figures(self, slo_s: float, *, but: str = "") -> dict[str, object]:
        """Raw enough to check the bars by."""
        levels = Counter(turn.brownout for turn in self.turns if turn.status == 200)
        return {
            "turns": len(self.turns),
            "status": dict(Counter(str(turn.status) for turn in self.turns)),
            "refused_of_others": sum(turn.status == 429 for turn in self.turns if turn.tenant != but) if but else None,
            "p50_s": round(self.p(0.5, but=but), 4),
            "p99_s": round(self.p(0.99, but=but), 4),
            "goodput_per_s": round(self.goodput(slo_s), 4),
            "brownout_levels": {str(level): count for level, count in sorted(levels.items())},
            "took_ms": [round(turn.took_s * 1000) for turn in self.turns if turn.status == 200 and turn.tenant != but],
        }


class Crowd:
    """Sends turns to one desk. Sessions are opened before their message is due: what is measured is the turn."""

    def __init__(self, http: aiohttp.ClientSession, url: str, *, deadline_s: float) -> None:
        self._http, self._url = http, url
        self._headers = {"Keepword-Deadline-Ms": str(round(deadline_s * 1000))}
        self._numbers = itertools.count()
        self._tokens: dict[str, str] = {}

    async def come(self, rates: Mapping[str, float], seconds: float, rng: random.Random) -> Round:
        """Poisson arrivals at `rates` (messages a second by tenant) for `seconds`, and their ends."""
        loop, due = asyncio.get_running_loop(), []
        for tenant, rate in rates.items():
            at = rng.expovariate(rate)
            while at < seconds:
                due.append((at, tenant))
                at += rng.expovariate(rate)
        for tenant in rates:
            await self._token(tenant)
        began = loop.time() + 0.5
        turns = await asyncio.gather(*(self._one(began + at, tenant) for at, tenant in sorted(due)))
        return Round(turns, seconds)

    async def saturate(self, tenants: Sequence[str], at_once: int, seconds: float) -> float:
        """`at_once` customers who each send their next message when the last is answered; turns answered a second in the
        second half of the time."""
        loop, answered = asyncio.get_running_loop(), 0
        half, end = loop.time() + seconds / 2, loop.time() + seconds

        async def one(tenant: str) -> None:
            nonlocal answered
            while loop.time() < end:
                turn = await self._one(loop.time(), tenant)
                answered += turn.status == 200 and half <= loop.time() < end
                if turn.status != 200:
                    await asyncio.sleep(0.2)

        await asyncio.gather(*(one(tenants[number % len(tenants)]) for number in range(at_once)))
        return answered / (seconds / 2)

    async def _one(self, due: float, tenant: str) -> Turn:
        loop, number = asyncio.get_running_loop(), next(self._numbers)
        await asyncio.sleep(max(0.0, due - 0.4 - loop.time()))
        path, headers = await self._session(tenant)
        await asyncio.sleep(max(0.0, due - loop.time()))
        text = f"{MESSAGES[number % len(MESSAGES)]} ({number})"
        async with self._http.post(path, json={"text": text}, headers=headers) as answer:
            body = await answer.read()
            found = BROWNOUT.search(body)
            retry_s = float(answer.headers.get("Retry-After", 0))
            return Turn(tenant, answer.status, loop.time() - due, int(found[1]) if found else 0, retry_s)

    async def _session(self, tenant: str) -> tuple[str, dict[str, str]]:
        body = {"customer_token": await self._token(tenant), "locale": "en"}
        async with self._http.post(f"{self._url}/v1/sessions", json=body) as answer:
            answer.raise_for_status()
            opened = await answer.json()
        path = f"{self._url}/v1/sessions/{opened['session_id']}/turns"
        return path, {**self._headers, "Authorization": f"Bearer {opened['session_token']}"}

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
