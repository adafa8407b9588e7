"""A small OpenAI client for measuring, in a process of its own: `python -m bench.peers.client '{"url": …}' SEEN.json`.

Closed loop: `concurrency` callers ask without a pause for `seconds`. It reads bytes and counts events; it never parses an
answer beyond the first, so that what is measured is the server.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp

MARK = b"data: "


@dataclass(frozen=True, slots=True)
class Load:
    """What to ask: `max_tokens` tokens, as a stream or whole, for `seconds` seconds."""

    url: str
    model: str
    concurrency: int
    seconds: float
    max_tokens: int
    stream: bool
    key: str = ""
    prompt: str = "Where is my order? " * 16


@dataclass
class Seen:
    """Times in seconds. `chunks` counts server-sent events; `first_s` and `whole_s` are one value a request."""

    requests: int = 0
    errors: int = 0
    chunks: int = 0
    elapsed_s: float = 0.0
    first_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)


def ask(load: Load) -> Seen:
    """Run the load in a fresh process and return what it saw. Raises CalledProcessError when the client broke."""
    with tempfile.NamedTemporaryFile(suffix=".json") as kept:  # a pipe was once cut at its 64 KiB
        command = [sys.executable, "-m", "bench.peers.client", json.dumps(asdict(load)), kept.name]
        subprocess.run(command, check=True, timeout=load.seconds + 60)
        return Seen(**json.load(kept))


async def run(load: Load) -> Seen:
    seen, until = Seen(), time.perf_counter() + load.seconds
    headers = {"Authorization": f"Bearer {load.key}"} if load.key else {}
    body = json.dumps(
        {
            "model": load.model,
            "messages": [{"role": "user", "content": load.prompt}],
            "max_tokens": load.max_tokens,
            "stream": load.stream,
        }
    ).encode()
    headers["Content-Type"] = "application/json"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as http:

        async def caller() -> None:
            while time.perf_counter() < until:
                await _one(http, load, headers, body, seen)

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(load.concurrency)))
        seen.elapsed_s = time.perf_counter() - began
    return seen


async def _one(http: aiohttp.ClientSession, load: Load, headers: dict[str, str], body: bytes, seen: Seen) -> None:
    began, first_s = time.perf_counter(), 0.0
    try:
        async with http.post(f"{load.url}/v1/chat/completions", data=body, headers=headers) as answer:
            async for piece in answer.content.iter_any():
                first_s = first_s or time.perf_counter() - began
                seen.chunks += piece.count(MARK)
            wrong = answer.status != 200
    except (aiohttp.ClientError, TimeoutError):
        wrong = True
    if wrong:
        seen.errors += 1
        await asyncio.sleep(0.01)  # a server that refuses at once must not make this loop spin
        return
    seen.requests += 1
    seen.first_s.append(first_s)
    seen.whole_s.append(time.perf_counter() - began)


if __name__ == "__main__":
    import uvloop

    Path(sys.argv[2]).write_text(json.dumps(asdict(uvloop.run(run(Load(**json.loads(sys.argv[1])))))), encoding="utf-8")
