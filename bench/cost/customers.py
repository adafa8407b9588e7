"""Customers in a process of their own, so that their CPU time is not counted as the desk's: visits over HTTP, streamed."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from multiprocessing.connection import Connection

import aiohttp

from bench.turn import VISITS

FILLERS = (
    "please",
    "really",
    "today",
    "again",
    "honestly",
    "somehow",
    "kindly",
    "maybe",
    "still",
    "already",
    "indeed",
    "anyway",
)
FILLERS_ZH = ("麻烦", "真的", "今天", "又", "其实", "急", "帮忙", "好像", "还是", "已经", "确实", "反正")
MIN_VARIED_CHARS = 12  # short answers are the same words in life too
IN_PROGRESS, SENT_AGAIN, AGAIN_AFTER_S = 409, 50, 0.02
TIMEOUT = aiohttp.ClientTimeout(total=120)


@dataclass(frozen=True, slots=True)
class Order:
    """What the measuring process asks for: `turns` turns in new sessions, `at_once` of them under way. `one_turn_each`: every
    session says one thing and is left open; `followed`: with a stream of its events; `same_sessions`: no more sessions than are
    under way at once, each for many visits."""

    turns: int
    at_once: int
    seed: int
    one_turn_each: bool = False
    followed: bool = False
    same_sessions: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """Turns, how many of them did not end well, how often a message had to be sent again because the session was said to be
    answering still, and events streamed."""

    turns: int
    failed: int
    sent_again: int
    events: int

    def __add__(self, other: "Done") -> "Done":
        return Done(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Done)))


def serve_orders(url: str, orders: Connection) -> None:
    """The process's main function: carries out orders until None comes."""
    asyncio.run(_serve(url, orders))


async def _serve(url: str, orders: Connection) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector, timeout=TIMEOUT) as http:
        customers = Customers(http)
        while (order := await asyncio.to_thread(orders.recv)) is not None:
            orders.send(await customers.carry_out(order))
        await customers.leave()


class Customers:
    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._following: set[asyncio.Task[None]] = set()
        self._tokens: dict[str, str] = {}

    async def carry_out(self, order: Order) -> Done:
        left, told = iter(range(order.turns)), list[Done]()
        visits = _visits(random.Random(order.seed))

        async def one_after_another() -> None:
            session = token = ""
            for customer, locale, messages in visits:
                if not (session and order.same_sessions):
                    session, token = await self._open(customer, locale)
                if order.followed:
                    await self._follow(session, token)
                for message in messages[:1] if order.one_turn_each else messages:
                    if next(left, None) is None:
                        return
                    told.append(await self._say(session, token, message))

        await asyncio.gather(*(one_after_another() for _ in range(order.at_once)))
        return sum(told, Done(0, 0, 0, 0))

    async def leave(self) -> None:
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)

    async def _open(self, customer: str, locale: str) -> tuple[str, str]:
        if customer not in self._tokens:
            async with self._http.post("/v1/dev/customer-tokens", json={"customer_id": customer}) as answer:
                self._tokens[customer] = (await answer.json())["customer_token"]
        async with self._http.post("/v1/sessions", json={"customer_token": self._tokens[customer], "locale": locale}) as answer:
            opened = await answer.json()
            return opened["session_id"], opened["session_token"]

    async def _say(self, session: str, token: str, text: str) -> Done:
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        said, status, sent = b"", IN_PROGRESS, 0
        with suppress(aiohttp.ClientError):  # a stream that breaks is a turn that failed
            while status == IN_PROGRESS and sent < SENT_AGAIN:
                await asyncio.sleep(AGAIN_AFTER_S if sent else 0.0)
                async with self._http.post(f"/v1/sessions/{session}/turns", json={"text": text}, headers=headers) as answer:
                    status, said, sent = answer.status, await answer.read(), sent + 1
        return Done(1, b"\nevent: turn.done\n" not in said, max(sent - 1, 0), said.count(b"\nevent: "))

    async def _follow(self, session: str, token: str) -> None:
        """Keep a stream of the session open until `leave`; returns once it has begun."""
        headers, begun = {"Authorization": f"Bearer {token}"}, asyncio.Event()

        async def read() -> None:
            timeout = aiohttp.ClientTimeout(total=None)
            async with self._http.get(f"/v1/sessions/{session}/events", headers=headers, timeout=timeout) as answer:
                begun.set()
                async for _ in answer.content.iter_any():
                    pass

        task = asyncio.create_task(read())
        self._following.add(task)
        await begun.wait()


def _visits(rng: random.Random) -> Iterator[tuple[str, str, Sequence[str]]]:
    while True:
        customer, locale, messages = rng.choice(VISITS)
        yield customer, locale, [_varied(rng, message) for message in messages]


def _varied(rng: random.Random, message: str) -> str:
    """The message with a few words more, so that hardly two are alike and no cache answers for the embedding."""
    if (len(message) < MIN_VARIED_CHARS and message.isascii()) or len(message) < MIN_VARIED_CHARS // 2:
        return message
    words = rng.choices(FILLERS if message.isascii() else FILLERS_ZH, k=3)
    return f"{message} {' '.join(words)}" if message.isascii() else f"{message}{''.join(words)}"
