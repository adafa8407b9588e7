"""Customers of one of three desks, in a process of its own: `python -m bench.peers.turns '{"desk": "keepword", …}'`.

Closed loop: `concurrency` customers each open a visit, ask the same question `TURNS_A_VISIT` times and open the next one.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field

import aiohttp

QUESTION = "Where is my order KW-1009?"
CUSTOMER = "C-003"
TURNS_A_VISIT = 3
PREAMBLE = "__preamble__"  # how Parlant marks words that come before it has looked


@dataclass(frozen=True, slots=True)
class Visits:
    desk: str
    url: str
    concurrency: int
    seconds: float


@dataclass
class Served:
    """Times in seconds, one value a turn. `llm_calls` is counted where the desk tells it, else 0."""

    turns: int = 0
    errors: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0
    llm_calls: int = 0
    first_sentence_s: list[float] = field(default_factory=list)
    turn_s: list[float] = field(default_factory=list)


Say = Callable[[], Awaitable[tuple[float, float, int]]]
"""One turn: seconds to its first sentence, seconds to its end, LLM calls if told."""
Open = Callable[[aiohttp.ClientSession, str], Awaitable[Say]]


def visit(visits: Visits) -> Served:
    """Run the customers in a fresh process and return what they met."""
    command = [sys.executable, "-m", "bench.peers.turns", json.dumps(asdict(visits))]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=visits.seconds + 120)
    return Served(**json.loads(done.stdout))


async def run(visits: Visits) -> Served:
    served, until, opening = Served(), time.perf_counter() + visits.seconds, DESKS[visits.desk]
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:

        async def customer() -> None:
            while time.perf_counter() < until:
                try:
                    say = await opening(http, visits.url)
                    for _ in range(TURNS_A_VISIT):
                        first_s, whole_s, calls = await say()
                        served.turns += 1
                        served.llm_calls += calls
                        served.first_sentence_s.append(first_s)
                        served.turn_s.append(whole_s)
                        if time.perf_counter() >= until:
                            return
                except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                    served.errors.append(f"{type(error).__name__}: {error}"[:200])
                    await asyncio.sleep(0.05)

        began = time.perf_counter()
        await asyncio.gather(*(customer() for _ in range(visits.concurrency)))
        served.elapsed_s = time.perf_counter() - began
    return served


async def keepword(http: aiohttp.ClientSession, url: str) -> Say:
    token = await _posted(http, f"{url}/v1/dev/customer-tokens", {"customer_id": CUSTOMER})
    opened = await _posted(http, f"{url}/v1/sessions", {"customer_token": token["customer_token"], "locale": "en"})
    headers = {"Authorization": f"Bearer {opened['session_token']}", "Accept": "text/event-stream"}
    path = f"{url}/v1/sessions/{opened['session_id']}/turns"

    async def say() -> tuple[float, float, int]:
        began, first_s, last = time.perf_counter(), 0.0, ""
        async with http.post(path, json={"text": QUESTION}, headers=headers) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                if line.startswith(b"event: "):
                    last = line[7:].decode().strip()
                    if last == "reply.sentence" and not first_s:
                        first_s = time.perf_counter() - began
                elif last == "turn.done" and line.startswith(b"data: "):
                    calls = int(json.loads(line[6:])["usage"]["llm_calls"])
                    return first_s, time.perf_counter() - began, calls
        raise ValueError(f"the turn ended with {last or 'nothing'}")

    return say


async def langgraph(http: aiohttp.ClientSession, url: str) -> Say:
    session_id = f"s{time.perf_counter_ns()}"

    async def say() -> tuple[float, float, int]:
        began, first_s, text = time.perf_counter(), 0.0, ""
        async with http.post(f"{url}/turn", json={"session_id": session_id, "text": QUESTION}) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                if line.startswith(b"event: done"):
                    return first_s, time.perf_counter() - began, 0
                if line.startswith(b'data: "') and not first_s:
                    text += json.loads(line[6:])
                    first_s = time.perf_counter() - began if text.rstrip().endswith(".") else 0.0
        raise ValueError("the turn did not end")

    return say


async def parlant(http: aiohttp.ClientSession, url: str) -> Say:
    async with http.get(f"{url}/agents") as answer:
        agent = (await answer.json())[0]["id"]
    session = await _posted(http, f"{url}/sessions?allow_greeting=false", {"agent_id": agent})
    events = f"{url}/sessions/{session['id']}/events"

    async def say() -> tuple[float, float, int]:
        began, first_s = time.perf_counter(), 0.0
        sent = await _posted(http, events, {"kind": "message", "source": "customer", "message": QUESTION})
        offset = int(sent["offset"]) + 1
        while time.perf_counter() - began < 60:
            async with http.get(events, params={"min_offset": offset, "wait_for_data": 30}) as answer:
                found = await answer.json() if answer.status == 200 else []
            for event in found:
                offset = max(offset, int(event["offset"]) + 1)
                data = event["data"]
                if event["kind"] == "message" and event["source"] == "ai_agent" and PREAMBLE not in data.get("tags", ()):
                    first_s = first_s or time.perf_counter() - began
                if event["kind"] == "status" and (data.get("data") or {}).get("stage") == "completed":
                    if not first_s:
                        raise ValueError("the turn ended without an answer")
                    return first_s, time.perf_counter() - began, 0
        raise ValueError("the turn did not end")

    return say


async def _posted(http: aiohttp.ClientSession, url: str, body: dict[str, str]) -> dict[str, str]:
    async with http.post(url, json=body) as answer:
        answer.raise_for_status()
        given: dict[str, str] = await answer.json()
        return given


DESKS: dict[str, Open] = {"keepword": keepword, "langgraph": langgraph, "parlant": parlant}

if __name__ == "__main__":
    import uvloop

    print(json.dumps(asdict(uvloop.run(run(Visits(**json.loads(sys.argv[1])))))))
