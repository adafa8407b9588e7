"""The load: one process, one event loop, aiohttp. It reads orders as JSON lines and answers each with what it measured.

It looks into bytes only until the first token has come, and at the last event: the servers' CPU is what is measured.

    python -m bench.overhead.client < orders > measurements
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import aiohttp

CONTENT: Final = re.compile(rb'"content":\s*"[^"]')
USAGE: Final = re.compile(rb'"usage":\s*(\{.*\})')
TIMEOUT_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Order:
    """One burst: every prompt is sent once, `concurrency` at a time."""

    url: str
    model: str
    prompts: tuple[str, ...]
    concurrency: int
    max_tokens: int
    ignore_eos: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Times in seconds since it was sent; `chunks` is how many reads brought its tokens."""

    first_token_s: float
    total_s: float
    prompt_tokens: int
    completion_tokens: int
    chunks: int

    @property
    def inter_token_s(self) -> float:
        return (self.total_s - self.first_token_s) / max(self.completion_tokens - 1, 1)


@dataclass(frozen=True, slots=True)
class Burst:
    requests: tuple[Request, ...]
    elapsed_s: float

    @property
    def tokens_per_s(self) -> float:
        return sum(request.completion_tokens for request in self.requests) / self.elapsed_s


async def burst(order: Order) -> Burst:
    """Raises RuntimeError for an answer that is not 200 or has no usage."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    waiting = list(order.prompts)
    done: list[Request] = []
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:

        async def lane() -> None:
            while waiting:
                done.append(await ask(http, order, waiting.pop()))

        began = time.perf_counter()
        await asyncio.gather(*(lane() for _ in range(order.concurrency)))
        return Burst(tuple(done), time.perf_counter() - began)


async def ask(http: aiohttp.ClientSession, order: Order, prompt: str) -> Request:
    body: dict[str, Any] = {
        "model": order.model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": order.max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if order.ignore_eos:
        body["ignore_eos"] = True
    first, chunks, last_token, tail, began = 0.0, 0, 0.0, b"", time.perf_counter()
    async with http.post(f"{order.url}/v1/chat/completions", json=body) as response:
        if response.status != 200:
            raise RuntimeError(f"{order.url} answered {response.status}: {(await response.text())[:300]}")
        async for data in response.content.iter_any():
            now = time.perf_counter()
            if not first and CONTENT.search(data):
                first = now
            if b'"usage"' not in data or b'"content"' in data:
                last_token = now
            chunks += 1
            tail = (tail + data)[-2048:]
    found = USAGE.search(tail)
    if not first or found is None:
        raise RuntimeError(f"{order.url} sent no tokens or no usage: {tail[-300:]!r}")
    usage, _ = json.JSONDecoder().raw_decode(found.group(1).decode())
    return Request(first - began, last_token - began, usage["prompt_tokens"], usage["completion_tokens"], chunks)


def written(measured: Burst) -> dict[str, Any]:
    return {"elapsed_s": measured.elapsed_s, "requests": [asdict(request) for request in measured.requests]}


def read(measured: dict[str, Any]) -> Burst:
    return Burst(tuple(Request(**request) for request in measured["requests"]), measured["elapsed_s"])


def main(lines: Sequence[str] | Any = sys.stdin) -> None:
    for line in lines:
        given = json.loads(line)
        order = Order(**{**given, "prompts": tuple(given["prompts"])})
        print(json.dumps(written(asyncio.run(burst(order)))), flush=True)


if __name__ == "__main__":
    main()
