"""One process of the load generator: `python -m bench.load.worker`, told what to do by `bench/load/generator.py`.

In: one line `{"plan": …, "number": …}`, then `go TIME` (the clock of time.monotonic), then `stop` or the end of input.
Out: `ready COUNT`, then `window {…}` as time goes by, then `done {…}`. It ends by itself when its plan is over.
"""

import asyncio
import itertools
import os
import random
import resource
import sys
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import uvloop

from bench.load.arrivals import thinking_s, times
from bench.load.chat import ChatTarget
from bench.load.desk import DeskTarget
from bench.load.outcome import REFUSED, Outcome
from bench.load.plan import LoadPlan
from bench.load.record import Book
from bench.load.target import Customer, SeatRefused, Target, kind_of
from bench.load.visits import every_visit, turns_a_visit

SEATING_AT_ONCE = 8
MAX_IN_FLIGHT = 20_000
MAX_RETRIES = 10
RETRY_AFTER_S = 1.0  # when a refusal names no time
KEEP_ALIVE_S = 4.0  # shorter than any server's, so that we never send into a connection that is being closed
SEAT_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Orders:
    """A worker's part of the load."""

    plan: LoadPlan
    number: int


@dataclass(frozen=True, slots=True)
class Report:
    """A worker's last word: how many turns the desk took in each session, and the times of the first turn sent and the last
    one done (the clock of time.monotonic)."""

    accepted: dict[str, int]
    first_sent_s: float
    last_done_s: float


class Worker:
    """Plays its share of a plan's customers. All times are the event loop's."""

    def __init__(self, orders: Orders, target: Target) -> None:
        self._plan, self._number, self._target = orders.plan, orders.number, target
        self._loop = asyncio.get_running_loop()
        self._rng = random.Random(f"worker {self._plan.seed} {self._number}")
        self._idle: deque[Customer] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn_ids = itertools.count()
        mine = len(range(self._number, self._plan.max_turns, self._plan.processes))
        self._turns_left = mine if self._plan.max_turns else sys.maxsize
        self.book = Book(self._plan, self._number, 0.0)

    async def seat_all(self) -> int:
        """Let this worker's share of the customers sit down. Returns how many did."""
        plan, gate = self._plan, asyncio.Semaphore(SEATING_AT_ONCE)
        mine = len(range(self._number, plan.customers, plan.processes))

        async def one() -> None:
            async with gate:
                if (customer := await self._seat()) is not None:
                    self._idle.append(customer)

        await asyncio.gather(*(one() for _ in range(mine)))
        return len(self._idle)

    async def play(self, begin_s: float, stop: asyncio.Event) -> None:
        """Everything from `begin_s` on, until the plan's time is over or `stop` is set; then wait for what is under way."""
        self.book.begin_s, plan = begin_s, self._plan
        await self._until(begin_s)
        reporting = self._loop.create_task(self._report())
        playing = self._loop.create_task(self._closed() if plan.arrivals.shape == "closed" else self._open())
        stopped = self._loop.create_task(stop.wait())
        end_s = begin_s + plan.duration_s
        await asyncio.wait({playing, stopped}, timeout=end_s - self._loop.time(), return_when=asyncio.FIRST_COMPLETED)
        playing.cancel()
        if self._tasks and not stop.is_set():
            waiting = self._loop.create_task(asyncio.wait(self._tasks))
            await asyncio.wait({waiting, stopped}, timeout=plan.drain_s, return_when=asyncio.FIRST_COMPLETED)
        for task in (*self._tasks, stopped, reporting):
            task.cancel()
        await asyncio.gather(playing, stopped, reporting, *self._tasks, return_exceptions=True)
        if playing.done() and not playing.cancelled() and (error := playing.exception()) is not None:
            raise error
        self._tell_window()

    async def _open(self) -> None:
        """Turns or visits at their times, whatever the service does."""
        plan, share = self._plan, 1 / self._plan.processes
        visits = plan.arrivals.of == "visits" and plan.target == "desk"
        share = share / turns_a_visit(every_visit(plan.locales)) if visits else share
        offset = (self._number + 0.5) / plan.processes
        coming = times(plan.arrivals, plan.duration_s, share=share, offset=offset, seed=plan.seed, number=self._number)
        for at_s in coming:
            intended_s = self.book.begin_s + at_s
            await self._due(intended_s)
            if self._turns_left <= 0:
                return
            if len(self._tasks) >= MAX_IN_FLIGHT:
                self.book.figures.count("error_generator_full")
            elif visits:
                self._spawn(self._visit(intended_s))
            else:
                self._spawn(self._arrival(self._idle.popleft() if self._idle else None, intended_s))

    async def _closed(self) -> None:
        """Every customer thinks, speaks, listens, and thinks again."""
        while self._idle:
            self._spawn(self._regular(self._idle.popleft()))
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _regular(self, customer: Customer) -> None:
        end_s = self.book.begin_s + self._plan.duration_s
        ready_s = self.book.begin_s + thinking_s(self._plan.think, self._rng)
        now: Customer | None = customer
        while ready_s < end_s and self._turns_left > 0:
            await self._due(ready_s)
            if now is not None:
                await self._turn(now, ready_s)
            if now is None or now.left:
                now = await self._next(now)
            ready_s = self._loop.time() + (thinking_s(self._plan.think, self._rng) if now else SEAT_AGAIN_S)

    async def _arrival(self, customer: Customer | None, intended_s: float) -> None:
        """One turn of the customer who waited longest, or of a new one when nobody is free."""
        customer = customer or await self._seat()
        if customer is None:
            return
        await self._turn(customer, intended_s)
        staying = await self._next(customer) if customer.left else customer
        if staying is not None:
            self._idle.append(staying)

    async def _visit(self, intended_s: float) -> None:
        """A new customer's whole visit."""
        customer, end_s = await self._seat(), self.book.begin_s + self._plan.duration_s
        while customer is not None and not customer.left and intended_s < end_s:
            await self._turn(customer, intended_s)
            intended_s = self._loop.time() + thinking_s(self._plan.think, self._rng)
            await self._due(min(intended_s, end_s))
        self.book.sessions_open -= customer is not None

    async def _turn(self, customer: Customer, intended_s: float) -> None:
        number, outcome = next(self._turn_ids), Outcome(sent_s=self._loop.time())
        self._turns_left -= 1
        self.book.started(number, intended_s)
        try:
            await customer.say(outcome)
            while outcome.kind == REFUSED and self._plan.retry_after == "honour" and outcome.refusals < MAX_RETRIES:
                outcome.refusals += 1
                await asyncio.sleep(RETRY_AFTER_S if outcome.retry_after_s is None else outcome.retry_after_s)
                await customer.say(outcome)
        except asyncio.CancelledError:
            outcome.kind = "unfinished"
            raise
        finally:
            self.book.ended(number, outcome, getattr(customer, "session_id", ""))

    async def _next(self, gone: Customer | None) -> Customer | None:
        """Somebody new in the place of a customer who left."""
        self.book.sessions_open -= gone is not None
        return await self._seat()

    async def _seat(self) -> Customer | None:
        began_s = self._loop.time()
        try:
            customer = await self._target.seat()
        except SeatRefused as error:
            self.book.figures.count("refusals" if error.kind == REFUSED else f"error_seat_{error.kind}")
            return None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.book.figures.count(f"error_seat_{kind_of(error)}")
            return None
        self.book.figures.time("open", self._loop.time() - began_s)
        self.book.figures.count("seated")
        self.book.sessions_open += 1
        return customer

    async def _until(self, at_s: float) -> None:
        wait_s = at_s - self._loop.time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def _due(self, intended_s: float) -> None:
        """Wait until something is meant to be sent, and write down how late this process is."""
        await self._until(intended_s)
        if intended_s - self.book.begin_s >= self._plan.warmup_s:
            self.book.figures.time("late", self._loop.time() - intended_s)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report(self) -> None:
        at_s = self.book.begin_s
        while True:
            at_s += self._plan.window_s
            await self._until(at_s)
            self._tell_window()

    def _tell_window(self) -> None:
        _tell("window", self.book.window(self._loop.time()))


def _tell(what: str, body: object) -> None:
    print(what, msgspec.json.encode(body).decode(), flush=True)


async def work(orders: Orders, lines: asyncio.StreamReader) -> None:
    """One worker's life."""
    plan, stop = orders.plan, asyncio.Event()
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S)
    timeout = aiohttp.ClientTimeout(total=plan.timeout_s)
    rng = random.Random(f"target {plan.seed} {orders.number}")
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        target: Target = DeskTarget(http, plan, rng) if plan.target == "desk" else ChatTarget(http, plan, rng, orders.number)
        worker = Worker(orders, target)
        _tell("ready", await worker.seat_all())
        word, _, at = (await lines.readline()).decode().strip().partition(" ")
        if word != "go":
            return

        async def listen() -> None:
            await lines.readline()  # `stop`, or the generator is gone
            stop.set()

        listening = asyncio.create_task(listen())
        await worker.play(float(at), stop)
        listening.cancel()
    book = worker.book
    _tell("done", Report(book.accepted, min(book.first_sent_s, 1e18), book.last_done_s))


async def _main() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    orders = msgspec.json.decode(await lines.readline(), type=Orders)
    await work(orders, lines)


def _take_what_is_allowed() -> None:
    """As many connections as the system gives and, where allowed, to run before the service under load: on another machine a
    generator would not have to wait for its turn either."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)


if __name__ == "__main__":
    _take_what_is_allowed()
    uvloop.run(_main())
