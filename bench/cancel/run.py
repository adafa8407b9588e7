"""How soon a client that leaves is gone from the engine.

Some streams run all the time. Beside them one client after the other begins a stream and, once the engine holds it, leaves at a
random moment, before its first token or after. What counts is the time until the engine's own process has let it go: the answer
of `/v1/chat/load` is given after the scheduler has dealt with everything sent to it before.

Where the engine computes on every core, Linux may leave this process, which holds the watch, waiting for one for seconds (6.18
with `kernel.sched_autogroup_enabled`). What it saw late says nothing of the engine: such clients are counted and set aside, and
more than a few of them fall short.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench.overhead.sides import server
from bench.processes import queued_s
from bench.result import BenchResult, bar, quantile
from bench.stack import running_stack

TRIALS, QUICK_TRIALS = 300, 8  # a p99 of 100 is their second slowest
BESIDE: Final = 2  # streams that go on
TOGETHER: Final = 25  # clients beside the same streams, which must not end meanwhile: they are counted too
LONGEST_STAY_S: Final = 1.5
LIMIT_MS: Final = 200.0
GIVEN_UP_S: Final = 10.0
LATE_S: Final = 0.05  # a watch that waited longer for a core than this tells nothing
SET_ASIDE: Final = 0.05  # of the clients, at most
ENDLESS: Final[Mapping[str, Any]] = {"ignore_eos": True}  # vLLM's
LONG: Final = 4000  # tokens: nobody waits for the end


@dataclass(frozen=True, slots=True)
class Left:
    """One client: seconds it stayed, whether it had read a token by then, seconds until the engine had let it go, and by how
    many of these the watch may itself have been late."""

    stayed_s: float
    had_token: bool
    freed_s: float
    late_s: float = 0.0


async def run(*, seed: int, quick: bool, model: str, progress: Callable[[int, int], None] | None = None) -> BenchResult:
    """A stack of its own with the real engine; `quick`: a small server over a model that counts."""
    with tempfile.TemporaryDirectory(prefix="keepword-cancel-") as name, ExitStack() as running:
        folder = Path(name)
        if quick:
            side = running.enter_context(server("stand-in", "bench.overhead.stand_in", model, folder / "server.log"))
            url = side.url
        else:
            url = running.enter_context(running_stack(folder, settings={"KEEPWORD_MODEL": model})).url
        left = await measure(
            url, model, random.Random(seed), QUICK_TRIALS if quick else TRIALS, progress, {} if quick else ENDLESS
        )
    return result(left)


async def measure(
    url: str,
    model: str,
    drawn: random.Random,
    trials: int,
    progress: Callable[[int, int], None] | None,
    more: Mapping[str, Any] = ENDLESS,
) -> list[Left]:
    """`more`: what a request says besides, so that a model does not end by itself."""
    left: list[Left] = []
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
    async with aiohttp.ClientSession(url, timeout=timeout) as http:
        for first in range(0, trials, TOGETHER):
            async with beside(http, model, more):
                await until(http, BESIDE)
                for number in range(first, min(first + TOGETHER, trials)):
                    left.append(await leave(http, model, drawn.uniform(0.0, LONGEST_STAY_S if number % 2 else 0.05), more))
                    if progress is not None:
                        progress(number + 1, trials)
            await until(http, 0)
    return left


async def leave(http: aiohttp.ClientSession, model: str, stay_s: float, more: Mapping[str, Any]) -> Left:
    """One client that stays for a while after the engine has taken its request, and is then gone without a word."""
    asking = asyncio.create_task(http.post("/v1/chat/completions", json=body(model, "Tell me a long story.", more)))
    await until(http, BESIDE + 1)
    began, read = time.perf_counter(), b""
    try:
        async with asyncio.timeout(stay_s):
            response = await asking
            while True:
                read += await response.content.readany()
    except TimeoutError:
        pass
    if asking.done() and not asking.cancelled():
        asking.result().close()
    else:
        asking.cancel()
    gone = time.perf_counter()
    freed_s, late_s = await until(http, BESIDE)
    return Left(gone - began, b'"content"' in read, freed_s, late_s)


async def until(http: aiohttp.ClientSession, unfinished: int) -> tuple[float, float]:
    """Seconds until the engine holds exactly so many requests, `GIVEN_UP_S` when it never does; and the longest this process
    waited for a core in its first look, which sends what was done before, or in its last, which alone can come too late."""
    began, late_s = time.perf_counter(), list[float]()
    while (waited_s := time.perf_counter() - began) < GIVEN_UP_S:
        queued = queued_s()
        async with http.get("/v1/chat/load") as response:
            response.raise_for_status()
            held = (await response.json())["unfinished"]
        late_s.append(queued_s() - queued)
        if held == unfinished:
            waited_s = time.perf_counter() - began
            break
    return waited_s, max(late_s[0], late_s[-1])


@asynccontextmanager
async def beside(http: aiohttp.ClientSession, model: str, more: Mapping[str, Any]) -> AsyncGenerator[None, None]:
    """Streams that go on, begun again when one ends."""

    async def stream(number: int) -> None:
        while True:
            async with http.post("/v1/chat/completions", json=body(model, f"Count, from {number}.", more)) as response:
                response.raise_for_status()
                async for _ in response.content.iter_any():
                    pass

    streams = [asyncio.create_task(stream(number)) for number in range(BESIDE)]
    try:
        yield
    finally:
        for each in streams:
            each.cancel()
        for ended in await asyncio.gather(*streams, return_exceptions=True):
            if isinstance(ended, Exception):  # it was not there to be measured beside
                raise ended


def body(model: str, text: str, more: Mapping[str, Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": model, "messages": messages, "max_tokens": LONG, "stream": True, **more}


def result(left: list[Left]) -> BenchResult:
    """Judged by those who were seen in time; a client that is never freed is one, whoever was late."""
    seen = [one for one in left if one.late_s <= LATE_S or one.freed_s >= GIVEN_UP_S]
    bars = {
        "freed_p99_ms": bar(_ms(seen, 0.99), LIMIT_MS),
        "never_freed": bar(sum(one.freed_s >= GIVEN_UP_S for one in left), 0),
        "set_aside_share": bar(1 - len(seen) / len(left), SET_ASIDE),
    }
    detail = {
        "clients": len(left),
        "before_their_first_token": sum(not one.had_token for one in left),
        "streams_beside": BESIDE,
        "freed_ms": _spread(seen),
        "freed_ms_with_those_set_aside": _spread(left),
        "raw_ms": [[round(one.freed_s * 1000, 1), round(one.late_s * 1000, 1)] for one in left],
    }
    return BenchResult("bench cancel", bars, detail)


def _spread(left: list[Left]) -> dict[str, float]:
    return {name: round(_ms(left, q), 1) for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))}


def _ms(left: list[Left], q: float) -> float:
    return quantile([one.freed_s for one in left], q) * 1000
