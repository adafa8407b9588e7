"""`keepword bench chaos`: parts of a stack under load are killed, and every accepted turn must end, every action happen once.

Two desks and two engines over PostgreSQL. Customers keep coming; each says that their mugs broke, says yes to the offer, and
says thanks. Afterwards the shop's own database and the ledger are read.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import create_engine, select

from agents.domain.words import ActionStatus
from bench.chaos.blows import QUICK, Blow, RollingRestart, every
from bench.chaos.customer import Customer, Said, client
from bench.chaos.shelf import customer_and_order, refunds, stock
from bench.postgres import PostgresServer, postgres_server
from bench.result import BenchResult, bar, quantile
from bench.stack import Stack, running_stack
from serving.settings import Settings
from serving.stores import tables

ENGINE = "simulated:l4-qwen3-8b-fp8"
VISITS = 20_000  # orders on the shelf: more than any run can use
WARM_UP_S, SETTLE_S = 5.0, 20.0
SETTINGS = {
    "KEEPWORD_DESK_REPLICAS": "2",
    "KEEPWORD_ENGINE_REPLICAS": "2",
    "KEEPWORD_LOG_LEVEL": "WARNING",
}
Progress = Callable[[int, int], None]


@dataclass
class Struck:
    """One blow: when it fell and when what it hit was back, by the event loop's clock, seconds."""

    name: str
    began: float
    back: float = 0.0
    failed: str = ""


@dataclass
class Run:
    said: list[Said] = field(default_factory=list)
    struck: list[Struck] = field(default_factory=list)
    orders: dict[str, str] = field(default_factory=dict)  # session -> order
    seconds: float = 0.0


def run(*, seed: int = 0, quick: bool = False, ingress: str = "ray", progress: Progress | None = None) -> BenchResult:
    """About five minutes; quick: two blows, about one. `ingress` is who takes HTTP: `ray` or `haproxy`. `seed` changes nothing:
    who is hit in the middle of what is the machine's choice."""
    blows, customers = (QUICK, 4) if quick else (every(ingress), 12)
    with TemporaryDirectory(prefix="keepword-chaos-") as name, postgres_server(Path(name)) as database:
        state = Path(name) / "state"
        shop = state / "pack-shop" / "shop.db"
        stock(shop, VISITS)
        settings = SETTINGS | {"KEEPWORD_DATABASE_URL": database.url, "KEEPWORD_INGRESS": ingress}
        with running_stack(state, settings=settings, engine=ENGINE) as stack:
            load = _load(stack, database, blows, customers, 3.0 if quick else SETTLE_S, progress or (lambda done, total: None))
            ran = asyncio.run(load)
            ledger = _settled(Settings.load(database_url=database.url).store_url)
        return result(ran, refunds(shop), ledger, {"ingress": ingress, "customers": customers})


async def _load(
    stack: Stack, database: PostgresServer, blows: Sequence[Blow], customers: int, settle_s: float, progress: Progress
) -> Run:
    """Customers keep talking while blow after blow falls; then everybody finishes."""
    ran, numbers, over, loop = Run(), itertools.count(), asyncio.Event(), asyncio.get_running_loop()
    began = loop.time()
    async with client() as http:
        talking = [asyncio.create_task(_visits(Customer(http, stack.url), ran, numbers, over)) for _ in range(customers)]
        await asyncio.sleep(WARM_UP_S)
        for done, blow in enumerate(blows):
            progress(done, len(blows))
            struck = Struck(blow.name, loop.time())
            ran.struck.append(struck)
            try:
                await asyncio.to_thread(blow.strike, stack, database)
            except RuntimeError as error:
                struck.failed = str(error)
            struck.back = loop.time()
            await asyncio.sleep(settle_s)
        over.set()
        await asyncio.gather(*talking)
    progress(len(blows), len(blows))
    ran.seconds = loop.time() - began
    return ran


async def _visits(customer: Customer, ran: Run, numbers: Iterator[int], over: asyncio.Event) -> None:
    while not over.is_set():
        customer_id, order = customer_and_order(next(numbers))
        try:
            await customer.open(customer_id)
        except TimeoutError:
            ran.said.append(Said("", "open", asyncio.get_running_loop().time()))
            continue
        ran.orders[customer.session_id] = order
        for text in (f"My mugs arrived broken, order {order}", "Yes please", "Thanks a lot"):
            ran.said.append(await customer.say(text))


def _settled(url: str, within_s: float = 30.0) -> dict[str, str]:
    """The ledger: session -> the status of its action, once no line is open."""
    engine, deadline = create_engine(url), time.monotonic() + within_s
    try:
        while True:
            with engine.connect() as connection:
                rows = connection.execute(select(tables.actions.c.session_id, tables.actions.c.status)).all()
            open_lines = any(row.status in (ActionStatus.INTENDED.value, ActionStatus.UNKNOWN.value) for row in rows)
            if not open_lines or time.monotonic() > deadline:
                return {str(row.session_id): str(row.status) for row in rows}
            time.sleep(0.5)
    finally:
        engine.dispose()


def result(ran: Run, moved: Counter[str], ledger: Mapping[str, str], how: Mapping[str, Any]) -> BenchResult:
    done = {session for session, status in ledger.items() if status == ActionStatus.DONE.value}
    told = {said.session_id for said in ran.said if said.acted and said.end == "done"}
    lost_actions = [session for session in done | told if not moved[ran.orders[session]]]
    unbooked = [session for session, order in ran.orders.items() if moved[order] and session not in done]
    lost = [said for said in ran.said if said.end == "lost"]
    restart = next((struck for struck in ran.struck if struck.name == RollingRestart().name), None)
    bars = {
        "turns_lost": bar(len(lost), 0),
        "actions_lost": bar(len(lost_actions) + len(unbooked), 0),
        "actions_doubled": bar(sum(times > 1 for times in moved.values()), 0),
        "blows_that_failed": bar(sum(bool(struck.failed) for struck in ran.struck), 0),
    }
    if restart is not None:
        during = [said for said in ran.said if restart.began <= said.ended and said.began <= restart.back]
        bars["turns_failed_in_a_rolling_restart"] = bar(sum(said.end != "done" for said in during), 0)
    ends = Counter(said.end for said in ran.said)
    bars["turns_that_ended_in_an_apology"] = bar(len(ran.said) - ends["done"] - ends["lost"], None)
    return BenchResult(
        "bench chaos",
        bars,
        {
            "engine": ENGINE,
            **how,
            "turns": len(ran.said),
            "turns_per_s": round(len(ran.said) / ran.seconds, 1),
            "actions": len(done),
            "ends": dict(ends),
            "turn_s": _spread([said.ended - said.began for said in ran.said]),
            "blows": {struck.name: _told(struck, ran.said) for struck in ran.struck},
        },
    )


def _told(struck: Struck, said: Sequence[Said]) -> dict[str, Any]:
    """What a blow cost: the first turn begun after it that ended well, the slowest turn it can have touched, and what stood in
    the customers' way."""
    touched = [each for each in said if each.ended >= struck.began and each.began <= struck.back]
    after = [each.ended for each in said if each.began >= struck.began and each.end == "done"]
    troubles: Counter[str] = sum((each.troubles for each in touched), Counter())
    return {
        "replaced_s": round(struck.back - struck.began, 2),
        "answers_again_s": round(min(after, default=float("inf")) - struck.began, 2),
        "slowest_turn_s": round(max((each.ended - each.began for each in touched), default=0.0), 2),
        "turns_touched": len(touched),
        "turns_restarted": sum(each.restarted for each in touched),
        "turns_resumed": sum(each.resumed > 0 for each in touched),
        "apologies": sum(each.end not in ("done", "lost") for each in touched),
        "troubles": dict(troubles),
        **({"failed": struck.failed} if struck.failed else {}),
    }


def _spread(seconds: list[float]) -> dict[str, float]:
    return {f"p{round(q * 100)}": round(quantile(seconds, q), 3) for q in (0.5, 0.9, 0.99, 1.0)}
