"""A customer who does not give up: a broken stream is resumed by event id, and what was not answered is sent again under the
same Idempotency-Key."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import uuid4

import aiohttp

GIVES_UP_S = 60.0
PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0
SILENCE_S = 30.0  # twice the desk's heartbeat
ENDS = ("turn.done", "error")


@dataclass
class Said:
    """One message and what came of it. Times by the event loop's clock, seconds. `end`: `done`, the error's type, or `lost`;
    `troubles` counts what stood in the way, by kind."""

    session_id: str
    text: str
    began: float
    end: str = "lost"
    ended: float = 0.0
    accepted: bool = False
    acted: bool = False
    restarted: bool = False
    resumed: int = 0
    troubles: Counter[str] = field(default_factory=Counter)


class Customer:
    """One session at a time. Every method goes on for `GIVES_UP_S` before it gives up."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self._url = http, url
        self._headers: dict[str, str] = {}
        self.session_id = ""
        self._seen = 0

    async def open(self, customer_id: str) -> None:
        """Raises TimeoutError when no session could be opened."""
        async with asyncio.timeout(GIVES_UP_S):
            token = await self._insist("/v1/dev/customer-tokens", {"customer_id": customer_id})
            opened = await self._insist("/v1/sessions", {"customer_token": token["customer_token"], "locale": "en"})
        self.session_id, self._seen = opened["session_id"], 0
        self._headers = {"Authorization": f"Bearer {opened['session_token']}", "Accept": "text/event-stream"}

    async def say(self, text: str) -> Said:
        """One message to its end."""
        loop, key = asyncio.get_running_loop(), uuid4().hex
        said, pause_s = Said(self.session_id, text, loop.time()), PAUSE_S
        while loop.time() < said.began + GIVES_UP_S:
            try:
                async with asyncio.timeout(said.began + GIVES_UP_S - loop.time()):
                    if await self._try(said, key):
                        break
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                said.troubles[type(error).__name__] += 1
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        said.ended = loop.time()
        return said

    async def _try(self, said: Said, key: str) -> bool:
        """Ask once, or listen once more; whether the turn has ended."""
        path = f"{self._url}/v1/sessions/{self.session_id}"
        if said.accepted:
            said.resumed += 1
            asking = self._http.get(f"{path}/events", headers=self._headers | {"Last-Event-ID": str(self._seen)})
        else:
            headers = self._headers | {"Idempotency-Key": key}
            asking = self._http.post(f"{path}/turns", json={"text": said.text}, headers=headers)
        async with asking as response:
            if response.status != 200:
                said.troubles[f"http {response.status}"] += 1
                return False
            async for event_id, event, data in _events(response.content):
                if event == "stream.moved":
                    said.troubles["moved"] += 1
                    return False
                self._seen = max(self._seen, event_id)
                said.accepted = True
                said.acted = said.acted or event == "action"
                said.restarted = said.restarted or event == "turn.restarted"
                if event in ENDS:
                    said.end = "done" if event == "turn.done" else str(data.get("error"))
                    return True
        said.troubles["cut"] += 1
        return False

    async def _insist(self, path: str, body: dict[str, str]) -> dict[str, str]:
        while True:
            try:
                async with self._http.post(self._url + path, json=body) as response:
                    if response.status < 300:
                        answer: dict[str, str] = await response.json()
                        return answer
            except (aiohttp.ClientError, OSError):
                pass
            await asyncio.sleep(PAUSE_S)


def client(*, keep_alive: bool = False) -> aiohttp.ClientSession:
    """An HTTP client that waits for slow streams; unless it is to `keep_alive`, with a connection a request."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=3.0, sock_read=SILENCE_S)
    return aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0, force_close=not keep_alive))


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[tuple[int, str, dict[str, object]]]:
    """Server-sent events: id, name, data."""
    fields: dict[str, str] = {}
    async for raw in content:
        line = raw.decode().rstrip("\n")
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif fields:
            if "event" in fields:
                yield int(fields.get("id") or 0), fields["event"], json.loads(fields.get("data") or "{}")
            fields = {}
