"""`keepword eval caps`: sessions in four processes spend one customer's weekly cap, and race on one order, over PostgreSQL.

Whole turns of the real desk: every session first gets its offer, all wait for each other, then all say yes at once. The shop's
own database says afterwards what really happened.
"""

import asyncio
import multiprocessing
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import create_engine, text

from agents.domain.errors import EngineUnavailable
from agents.domain.words import Act, ActionStatus
from agents.packs.loader import load_pack
from agents.ports import ModelRequest
from agents.turn import TurnLimits
from bench.postgres import running_postgres
from bench.result import BenchResult, bar, quantile
from serving.embedded import EmbeddedDesk
from serving.scripted import ScriptedModel, TableRetriever
from serving.settings import Settings

PROCESSES = 4
AT_ONCE = 24  # sessions at once in each process
COUPON_CENTS = 500
YES, COUPON = "yes please", "a coupon please"
CLAIMER = "C-010"  # a loyal customer of the seeds, with no unused coupon: every session is offered one of 5.00
RACED = {  # order -> its customer; every session is offered a refund of a part of it
    "KW-1042": "C-001", "KW-1060": "C-011", "KW-1061": "C-012", "KW-1047": "C-036",
}  # fmt: skip
START_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Share:
    """One process's part: sessions as (customer, first message)."""

    url: str
    folder: Path
    parameters: Mapping[str, Any]
    sessions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one process saw: statuses of the actions its sessions took, turns that failed, seconds of each yes."""

    statuses: tuple[str, ...]
    errors: tuple[str, ...]
    yes_s: tuple[float, ...]
    elapsed_s: float


def run(*, seed: int = 0, quick: bool = False, progress: Callable[[int, int], None] | None = None) -> BenchResult:
    """1,000 claims and 50 racers an order; quick: 80 and 8. `seed` changes nothing: the race is the operating system's."""
    claims, racers, cap_coupons = (80, 8, 10) if quick else (1000, 50, 100)
    tell = progress or (lambda done, total: None)
    parameters = {"coupon_week_cents": cap_coupons * COUPON_CENTS, "coupon_max_active": claims}
    with TemporaryDirectory(prefix="keepword-caps-") as name, running_postgres(Path(name)) as plain:
        url, folder = Settings.load(database_url=plain).store_url, Path(name) / "state"
        tell(0, 2)
        cap = _race(url, folder / "cap", parameters, [(CLAIMER, COUPON)] * claims)
        issued = _sum(folder / "cap", "SELECT amount_cents FROM coupons WHERE customer_id = ? AND used = 0", CLAIMER)
        tell(1, 2)
        orders = [(customer, f"{order} came broken") for order, customer in RACED.items() for _ in range(racers)]
        race = _race(url, folder / "race", {}, orders)
        refunds = {
            order: _sum(folder / "race", "SELECT amount_cents FROM refunds WHERE order_id = ?", order) for order in RACED
        }
        tell(2, 2)
        deadlocks = _deadlocks(url)
    limit = cap_coupons * COUPON_CENTS
    return BenchResult(
        "eval caps",
        {
            "spent_above_cap_cents": bar(max(0, sum(issued) - limit), 0),
            "spent_of_cap": bar(sum(issued) / limit, 1.0, ">="),
            "orders_not_refunded_exactly_once": bar(sum(len(each) != 1 for each in refunds.values()), 0),
            "deadlocks": bar(deadlocks, 0),
            "turns_failed": bar(sum(len(each.errors) for each in (*cap, *race)), 0),
        },
        {
            "claims": claims,
            "processes": PROCESSES,
            "sessions_at_once": PROCESSES * AT_ONCE,
            "cap_cents": limit,
            "coupons_issued": len(issued),
            "racers_an_order": racers,
            "claims_per_s": round(claims / max(each.elapsed_s for each in cap), 1),
            "yes_s": {
                f"p{round(q * 100)}": round(quantile([s for each in cap for s in each.yes_s], q), 3) for q in (0.5, 0.99)
            },
            "outcomes": {"cap": _count(cap), "race": _count(race)},
            "errors": sorted({error for each in (*cap, *race) for error in each.errors})[:5],
        },
    )


def _race(url: str, folder: Path, parameters: Mapping[str, Any], sessions: list[tuple[str, str]]) -> list[Outcome]:
    """Deal the sessions out to the processes, which start together; the first makes the shop's database for all."""
    asyncio.run(_make(url, folder))
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    with context.Manager() as manager:
        results = manager.Queue()
        workers = [
            context.Process(
                target=_work, args=(Share(url, folder, parameters, tuple(sessions[number::PROCESSES])), barrier, results)
            )
            for number in range(PROCESSES)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        outcomes = [results.get_nowait() for _ in range(results.qsize())]
    if len(outcomes) != PROCESSES:
        raise RuntimeError(f"only {len(outcomes)} of {PROCESSES} processes ended well")
    return outcomes


async def _make(url: str, folder: Path) -> None:
    pack = load_pack("shop")
    async with EmbeddedDesk.open(
        pack, model=ScriptedModel(_silent), data_dir=folder, store=url, retriever=TableRetriever(pack, {})
    ):
        pass


def _work(share: Share, barrier: Barrier, results: Any) -> None:
    results.put(asyncio.run(_claim(share, barrier)))


async def _claim(share: Share, barrier: Barrier) -> Outcome:
    pack = load_pack("shop", parameters=share.parameters)
    messages = {message for _, message in share.sessions}
    scenario = "coupon_request" if COUPON in messages else "damaged_item"
    table = {message: (scenario, Act.ASKS) for message in messages} | {YES: (scenario, Act.ACCEPTS)}
    gate = asyncio.Semaphore(AT_ONCE)
    async with EmbeddedDesk.open(
        pack,
        model=ScriptedModel(_silent),
        data_dir=share.folder,
        store=share.url,
        retriever=TableRetriever(pack, table),
        limits=TurnLimits(turn_s=120.0),
    ) as desk:

        async def opened(customer: str, message: str) -> str:
            async with gate:
                session_id = await desk.start_session(customer, locale="en")
                await desk.say(session_id, message)
                return session_id

        async def confirmed(session_id: str) -> tuple[list[str], list[str], float]:
            async with gate:
                began = time.monotonic()
                reply = await desk.say(session_id, YES)
                failed = [] if reply.done else [reply.text]
                return [record.status.value for record in reply.actions], failed, time.monotonic() - began

        ids = await asyncio.gather(*(opened(customer, message) for customer, message in share.sessions))
        await asyncio.to_thread(barrier.wait, START_TIMEOUT_S)
        began = time.monotonic()
        ended = await asyncio.gather(*map(confirmed, ids))
        elapsed_s = time.monotonic() - began
    return Outcome(
        statuses=tuple(status for statuses, _, _ in ended for status in statuses or ["denied"]),
        errors=tuple(error for _, errors, _ in ended for error in errors),
        yes_s=tuple(seconds for _, _, seconds in ended),
        elapsed_s=elapsed_s,
    )


def _silent(_request: ModelRequest) -> str:
    raise EngineUnavailable("no model in this evaluation")


def _count(outcomes: list[Outcome]) -> dict[str, int]:
    said = [status for each in outcomes for status in each.statuses]
    return {status: said.count(status) for status in (*(s.value for s in ActionStatus), "denied") if status in said}


def _sum(folder: Path, query: str, *values: str) -> list[int]:
    """The amounts in the shop's database, in cents."""
    with sqlite3.connect(folder / "pack-shop" / "shop.db") as shop:
        return [row[0] for row in shop.execute(query, values)]


def _deadlocks(url: str) -> int:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return int(connection.execute(text("SELECT sum(deadlocks) FROM pg_stat_database")).scalar_one())
    finally:
        engine.dispose()
