"""Customers of our desk: `/v1/sessions`, then turns as server-sent events."""

import json
import re
from collections.abc import Iterator, Mapping
from random import Random

import aiohttp

from bench.load.outcome import OK, Outcome
from bench.load.plan import LoadPlan
from bench.load.sse import blocks, field
from bench.load.target import SeatRefused, kind_of, refusal
from bench.load.visits import Visit, chosen, every_visit

TURN_ID, CALLS = re.compile(rb'"turn_id":"([^"]+)"'), re.compile(rb'"llm_calls":(\d+)')
ERROR = re.compile(rb'"error":"([^"]+)"')


class DeskCustomer:
    """A customer in a session. A message keeps its idempotency key until it is answered, so that saying it again after a
    refusal or a cut is the same turn."""

    def __init__(self, http: aiohttp.ClientSession, url: str, visit: Visit, session_id: str, token: str) -> None:
        self._http, self._visit, self.session_id = http, visit, session_id
        self._url = f"{url}/v1/sessions/{session_id}/turns"
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        self._said = 0

    @property
    def left(self) -> bool:
        return self._said >= len(self._visit.messages)

    async def say(self, outcome: Outcome) -> None:
        body = {"text": self._visit.messages[self._said]}
        headers = {**self._headers, "Idempotency-Key": f"{self.session_id[-16:]}-{self._said}"}
        try:
            async with self._http.post(self._url, json=body, headers=headers) as response:
                if response.status != 200:
                    await response.read()
                    refusal(response, outcome)
                else:
                    outcome.accepted = True
                    await self._listen(response, outcome)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            outcome.kind = kind_of(error)
        if outcome.kind != "refused":
            self._said += 1

    async def _listen(self, response: aiohttp.ClientResponse, outcome: Outcome) -> None:
        outcome.kind = "cut"
        now = self._http.loop.time
        async for block in blocks(response.content):
            event = field(block, b"event")
            if not event:
                continue
            at = now()
            if outcome.first_byte_s is None:
                outcome.first_byte_s = at
                found = TURN_ID.search(block)
                outcome.turn_id = found[1].decode() if found else ""
            if event == b"reply.sentence":
                outcome.chunks_s.append(at)
                outcome.first_sentence_s = outcome.first_sentence_s or at
            elif event == b"turn.done":
                outcome.kind, outcome.done_s = OK, at
                calls = CALLS.search(block)
                outcome.usage = {"llm_calls": int(calls[1]) if calls else 0}
            elif event == b"error":
                found = ERROR.search(block)
                outcome.kind, outcome.done_s = f"failed_{found[1].decode() if found else 'unnamed'}", at
            # read on to the end of the body: the connection is only used again when all of it was read


class DeskTarget:
    """Opens sessions at a desk that offers test customers. Tenants are mixed by weight."""

    def __init__(self, http: aiohttp.ClientSession, plan: LoadPlan, rng: Random) -> None:
        self._http, self._url, self._rng = http, plan.url, rng
        self._visits: Iterator[Visit] = chosen(every_visit(plan.locales), rng)
        self._tenants: Mapping[str, float] = plan.tenants or {"": 1.0}
        self._tokens: dict[tuple[str, str], str] = {}

    async def seat(self) -> DeskCustomer:
        visit = next(self._visits)
        (tenant,) = self._rng.choices(list(self._tenants), list(self._tenants.values()))
        token = await self._customer_token(visit.customer_id, tenant)
        opened = await self._post("/v1/sessions", {"customer_token": token, "locale": visit.locale})
        return DeskCustomer(self._http, self._url, visit, opened["session_id"], opened["session_token"])

    async def _customer_token(self, customer_id: str, tenant: str) -> str:
        """As the marketplace's login would give it; one a customer is enough."""
        if (customer_id, tenant) not in self._tokens:
            body = {"customer_id": customer_id, "tenant": tenant}
            self._tokens[customer_id, tenant] = (await self._post("/v1/dev/customer-tokens", body))["customer_token"]
        return self._tokens[customer_id, tenant]

    async def _post(self, path: str, body: Mapping[str, str]) -> dict[str, str]:
        async with self._http.post(self._url + path, json=body) as response:
            answer = await response.read()
            if response.status not in (200, 201):
                raise SeatRefused("refused" if response.status == 429 else f"http_{response.status}")
            return dict(json.loads(answer))
