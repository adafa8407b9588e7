"""`keepword bench cost`: whole turns over HTTP with an instant model; CPU, statements and memory of the desk's own process.

One process is measured: wiring's desk behind uvicorn and uvloop on a socket (what a replica runs, without Ray's hop). Customers
are another process. The embedding is a model's time: it is measured by itself and taken off.
"""

import asyncio
import gc
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.cost.customers import Done, Order
from bench.cost.profile import SEARCH, Profile, profiling, shares_ms
from bench.cost.served import Served, served
from bench.cost.statements import Statements, counting_statements
from bench.result import BenchResult, bar, resident_mib

CPU_MS_A_TURN, SLEEPING_KIB = 8.0, 30.0
GROWTH_KIB_A_TURN = 2.0  # what was said stays known with its session, until that has slept for a quarter of an hour
SHOWN = 25
STEADY_PARTS = 5


@dataclass(frozen=True, slots=True)
class Size:
    """Turns of each part, and how many are under way at once."""

    warm: int = 500
    turns: int = 400
    rounds: int = 5
    at_once: int = 32
    sleeping: int = 2000
    followed: int = 500
    steady: int = 2000


QUICK = Size(warm=40, turns=40, rounds=2, at_once=8, sleeping=60, followed=20, steady=40)


@dataclass
class Round:
    """One round: CPU milliseconds a turn, the embedding's part of them, and texts embedded a turn."""

    cpu_ms: float
    embedding_ms: float
    embeddings: float
    wall_s: float
    resident_mib: float


@dataclass
class Measured:
    rounds: list[Round]
    statements: Statements
    profile: Profile
    counted_turns: int
    profiled_turns: int
    done: list[Done]
    sleeping_kib: float
    followed_kib: float
    growth_kib: float
    embeddings_in_loop: int


def run(*, seed: int = 0, quick: bool = False, progress: Callable[[int, int], None] | None = None) -> BenchResult:
    """Blocks; must run in the main thread (the profile's signal arrives there)."""
    import uvloop

    size = QUICK if quick else Size()
    with (
        tempfile.TemporaryDirectory(prefix="keepword-cost-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        measured = runner.run(_measure(Path(folder), size, seed, progress or (lambda done, total: None)))
    return _result(measured, size, quick)


async def _measure(folder: Path, size: Size, seed: int, tell: Callable[[int, int], None]) -> Measured:
    total = size.rounds + 6 + STEADY_PARTS
    steps = iter(range(1, total + 1))
    async with served(folder) as desk:
        done: list[Done] = []

        async def turns(count: int, **how: Any) -> Done:
            done.append(await desk.customers(Order(count, size.at_once, seed + len(done), **how)))
            tell(next(steps), total)
            return done[-1]

        await turns(size.warm)
        with counting_statements() as statements:
            counted = await turns(size.turns)
        rounds = [await _round(desk, turns, size.turns) for _ in range(size.rounds)]
        embedding_s = desk.embedder.cpu_s
        with profiling() as profile:
            profiled = await turns(size.turns)
        profile.rooms[SEARCH] -= desk.embedder.cpu_s - embedding_s  # the same threads embed
        sleeping = await _slope(turns, size.sleeping, one_turn_each=True)
        followed = await _slope(turns, size.followed, one_turn_each=True, followed=True)
        await turns(size.steady // 2, same_sessions=True)
        parts = [await _slope(turns, size.steady // STEADY_PARTS, same_sessions=True) for _ in range(STEADY_PARTS)]
        growth = median(parts)  # memory is taken from the system in lumps: one lump is no growth
        return Measured(
            rounds, statements, profile, counted.turns, profiled.turns, done, sleeping, followed, growth, desk.embedder.in_loop
        )


async def _round(desk: Served, turns: Callable[..., Any], count: int) -> Round:
    began, cpu, embedding, calls = time.monotonic(), time.process_time(), desk.embedder.cpu_s, desk.embedder.calls
    done = await turns(count)
    cpu_ms = 1000 * (time.process_time() - cpu) / done.turns
    embedding_ms = 1000 * (desk.embedder.cpu_s - embedding) / done.turns
    return Round(cpu_ms, embedding_ms, (desk.embedder.calls - calls) / done.turns, time.monotonic() - began, _resident_mib())


async def _slope(turns: Callable[..., Any], count: int, **how: Any) -> float:
    """KiB that each further turn (or session of one turn) keeps resident."""
    before = _resident_mib()
    await turns(count, **how)
    return (_resident_mib() - before) * 1024 / count


def _resident_mib() -> float:
    gc.collect()
    return resident_mib()


def _result(measured: Measured, size: Size, quick: bool) -> BenchResult:
    own = [each.cpu_ms - each.embedding_ms for each in measured.rounds]
    together = sum(measured.done, Done(0, 0, 0, 0))
    judged = not quick  # the quick size is too short for memory to settle
    counted, profile, profiled = measured.statements, measured.profile, measured.profiled_turns
    return BenchResult(
        "bench cost",
        {
            "cpu_ms_a_turn": bar(median(own), CPU_MS_A_TURN if judged else None),
            "sleeping_session_kib": bar(measured.sleeping_kib, SLEEPING_KIB if judged else None),
            "growth_kib_a_turn": bar(measured.growth_kib, GROWTH_KIB_A_TURN if judged else None),
            "turns_failed": bar(together.failed, 0),
            "messages_refused_after_turn_done": bar(together.sent_again, 0),
            "embeddings_in_the_event_loop": bar(measured.embeddings_in_loop, 0),
        },
        {
            "turns": together.turns,
            "at_once": size.at_once,
            "cpu_ms_a_turn_by_round": [round(each, 2) for each in own],
            "embedding_cpu_ms_a_turn": round(median(each.embedding_ms for each in measured.rounds), 2),
            "embeddings_a_turn": round(median(each.embeddings for each in measured.rounds), 2),
            "turns_a_s": round(median(size.turns / each.wall_s for each in measured.rounds), 1),
            "transactions_a_turn": round(counted.transactions / measured.counted_turns, 2),
            "statements_a_turn": round(counted.statements / measured.counted_turns, 2),
            "rows_written_a_turn": round(counted.rows_written / measured.counted_turns, 2),
            "events_streamed_a_turn": round(together.events / together.turns, 2),
            "followed_session_kib": round(measured.followed_kib, 1),
            "resident_mib": [round(each.resident_mib, 1) for each in measured.rounds],
            "profile_ms_a_turn": shares_ms(profile.rooms, profiled, SHOWN),
            "profile_of_the_loop_in_our_code_ms_a_turn": shares_ms(profile.ours, profiled, SHOWN),
        },
    )
