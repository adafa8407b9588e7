"""`keepword bench soak`: many sessions open at once for a long time. Nothing may be lost, break, cost too much or grow."""

import asyncio
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from bench.load.aftermath import audited, database_bytes, settled_log
from bench.load.figures import Window, total
from bench.load.generator import Run
from bench.load.measure import SATURATED_SHARE, Measured, as_detail, measure
from bench.load.place import Place
from bench.load.plan import Arrivals, LoadPlan, Slo, Think
from bench.load.sampled import NOT_OURS, Sampled, sample
from bench.load.sampled import as_detail as as_rooms
from bench.load.series import over_time
from bench.load.steady import slope
from bench.load.watch import OWN_CODE, Use, Watch
from bench.result import Bar, BenchResult, bar
from serving.observe.top.command import read
from serving.observe.top.samples import Reading
from serving.settings import Settings

WANTED_THINK_S = 60.0
SPOKEN_SHARE = 0.99
"""Of the customers, by the end of the warm-up: one who speaks for the first time adds a session to what the desk remembers, and
that is no growth of it."""
LOAD_SHARE = 0.6  # of what the probe could do: a soak at the edge measures the edge
OWN_CPU_MS = 8.0
SAMPLED_S = 120.0
SLEEPING_BYTES = 30 * 1024
GROWTH_SHARE_AN_HOUR = 0.05  # the upper end of the slope's interval, over the memory held
UNKNOWN = 1.0  # a growth that too few looks at the memory leave open
LINE_S = 10.0
SCRAPE_S = 30.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """`minutes` are counted after the warm-up, by whose end `spoken_share` of the customers have spoken."""

    sessions: int = 10_000
    minutes: float = 30.0
    spoken_share: float = SPOKEN_SHARE
    think_s: float | None = None
    processes: int = 2
    probe_s: float = 25.0
    audit_sessions: int = 300


QUICK = Sizes(sessions=40, minutes=0.2, spoken_share=0.5, think_s=4.0, processes=2, probe_s=4.0, audit_sessions=10)


@dataclass
class Journal:
    """Lines of JSON, one a stretch of time, written at once: a soak that was cut short still tells what it saw."""

    path: Path | None
    note: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("", encoding="utf-8")

    def line(self, **what: Any) -> None:
        text = json.dumps(what, ensure_ascii=False)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as out:
                out.write(text + "\n")
        if self.note is not None:
            self.note(text)


async def run(where: Place, sizes: Sizes, *, journal: Journal, seed: int = 0, quick: bool = False) -> BenchResult:
    """Probe, seat everybody, let them talk, and read the log. `where` must be a stack of our own with a watch."""
    if where.watch is None or where.data_dir is None:
        raise LookupError("a soak reads the processes and the database of its stack: it starts one of its own")
    settings = Settings.load(data_dir=where.data_dir, database_url=where.database_url)
    probed = await measure(_probe_plan(where.url, sizes, seed), where.watch)
    probe_per_s = probed.ended / probed.span_s
    think_s = sizes.think_s or chosen_think_s(sizes.sessions, probe_per_s)
    journal.line(what="probe", turns_per_s=round(probe_per_s, 2), think_s=think_s, sessions=sizes.sessions)
    plan = _plan(where.url, sizes, think_s, seed)
    before, asleep, told = where.watch.use(), list[Use](), list[Reading]()

    seated = asyncio.Event()

    def at_seated(run: Run) -> None:
        seated.set()
        asleep.append(where.watch.use() if where.watch is not None else before)
        told.append(_told(where.url))
        journal.line(what="seated", sessions=run.seated.customers, seconds=run.seated.seating_s)

    telling = _telling(journal, plan)
    sampling = asyncio.create_task(_sampled(where.watch, plan, seated))
    try:
        measured = await measure(plan, where.watch, tell=telling, at_seated=at_seated, use_every_s=plan.window_s)
        sampled = await sampling
    finally:
        sampling.cancel()
    embedding_ms = _embedding_ms(told[0], _told(where.url))
    log = await settled_log(settings)
    looked, damages = await audited(settings, sizes.audit_sessions, seed=seed)
    memory = _memory(measured, before, asleep[0], plan)
    lost = len(log.unended) + log.missing(measured.accepted)
    detail = {
        "engine": where.engine,
        "plan": asdict(plan),
        "probe": {"turns_per_s": round(probe_per_s, 2), "desk_cpu_ms_a_turn": round(probed.cpu_ms_a_turn(("desk",)), 2)},
        "think_s": {"wanted": WANTED_THINK_S, "used": think_s, "why": _why(sizes, probe_per_s, think_s)},
        "log": {
            "turns_begun": sum(log.begun.values()),
            "turns_ended": sum(log.ended.values()),
            "events": log.events,
            "unended": list(log.unended[:20]),
            "accepted_by_customers": sum(measured.accepted.values()),
            "accepted_without_an_end": log.missing(measured.accepted),
            "sessions_audited": looked,
            "database_bytes_a_turn": round(database_bytes(where.data_dir) / max(1, sum(log.ended.values()))),
        },
        "memory": memory,
        "embedding_cpu_ms_a_turn": round(embedding_ms, 3),
        "desk_by_room": as_rooms(sampled, measured.cpu_ms_a_turn(("desk",)), embedding_ms),
        **as_detail(measured),
        "series": over_time(measured),
    }
    journal.line(what="end", lost=lost, errors=measured.errors, damages=damages)
    own_ms = _own_ms(measured, sampled, embedding_ms)
    return BenchResult(
        "bench soak", _bars(measured, memory, sizes, own_ms=own_ms, lost=lost, damages=damages, quick=quick), detail
    )


async def _sampled(watch: Watch, plan: LoadPlan, seated: asyncio.Event) -> Sampled | None:
    """One desk, sampled for a while after the warm-up, in the middle of what is left."""
    await seated.wait()
    left_s = plan.duration_s - plan.warmup_s
    seconds = min(SAMPLED_S, left_s / 2)
    await asyncio.sleep(plan.warmup_s + (left_s - seconds) / 2)
    desks = watch.pids("desk")
    return await sample(desks[0], seconds) if desks else None


def _own_ms(measured: Measured, sampled: Sampled | None, embedding_ms: float) -> float:
    """The desk's CPU a turn that is neither Ray's nor the embedder's; where nothing could be sampled, Ray's part is in it."""
    desk_ms = measured.cpu_ms_a_turn(("desk",))
    if sampled is None:
        return desk_ms - embedding_ms
    return sum(each for room, each in sampled.by_room(desk_ms, embedding_ms).items() if room not in NOT_OURS)


def _told(url: str) -> Reading:
    with httpx.Client(timeout=SCRAPE_S) as client:
        return read(client, url)


def _embedding_ms(before: Reading, after: Reading) -> float:
    """The embedder's CPU a turn, in milliseconds, by the desk's own metrics."""
    grown = after.since(before)
    return 1000 * grown.sum("keepword_embedding_cpu_seconds_total") / max(1.0, grown.sum("keepword_turns_total"))


def chosen_think_s(sessions: int, probe_per_s: float) -> float:
    """A minute, or, where that is more than the machine carries, as many seconds (in fives) as bring the load down to 60 % of
    what the probe did."""
    carried_s = sessions / max(0.01, probe_per_s * LOAD_SHARE)
    return max(WANTED_THINK_S, math.ceil(carried_s / 5) * 5.0)


def warmed_up_s(think_s: float, spoken_share: float) -> float:
    """Seconds, in fives, after which that share of customers has spoken: each first thinks an exponential time of that mean."""
    return math.ceil(-think_s * math.log1p(-spoken_share) / 5) * 5.0


def _why(sizes: Sizes, probe_per_s: float, think_s: float) -> str:
    if sizes.think_s is not None:
        return "given"
    if think_s == WANTED_THINK_S:
        return "as wanted"
    wanted = f"{sizes.sessions} sessions every {WANTED_THINK_S:g} s"
    return f"{wanted} are more than {LOAD_SHARE:.0%} of the {probe_per_s:.1f} turns/s probed"


def _probe_plan(url: str, sizes: Sizes, seed: int) -> LoadPlan:
    """As fast as 32 customers who do not think can talk; it also warms the stack up."""
    return LoadPlan(
        url,
        arrivals=Arrivals("closed"),
        customers=32,
        think=Think(0.0),
        duration_s=sizes.probe_s,
        warmup_s=sizes.probe_s / 2,
        processes=1,
        seed=seed + 1,
    )


def _plan(url: str, sizes: Sizes, think_s: float, seed: int) -> LoadPlan:
    counted_s, warmup_s = sizes.minutes * 60, warmed_up_s(think_s, sizes.spoken_share)
    return LoadPlan(
        url,
        arrivals=Arrivals("closed"),
        customers=sizes.sessions,
        think=Think(think_s),
        slo=Slo(),
        duration_s=warmup_s + counted_s,
        warmup_s=warmup_s,
        drain_s=90.0,
        window_s=5.0 if counted_s > 120 else 1.0,
        processes=sizes.processes,
        retry_after="honour",
        seed=seed,
    )


def _telling(journal: Journal, plan: LoadPlan) -> Callable[[Window], None]:
    """Writes a line when every worker's window of a stretch is there."""
    waiting: dict[int, list[Window]] = {}
    every = max(1, round(LINE_S / plan.window_s))

    def tell(window: Window) -> None:
        slot = round(window.begin_s / plan.window_s) // every
        windows = waiting.setdefault(slot, [])
        windows.append(window)
        if len(windows) < plan.processes * every:
            return
        figures = total(waiting.pop(slot))
        journal.line(
            what="window",
            minutes=round(window.end_s / 60, 2),
            turns=figures.counts["ended"],
            **{f"turn_p{q:g}_s": figures.at("turn", q / 100) for q in (50, 99) if "turn" in figures.histograms},
            refused=figures.counts["refusals"],
            errors=figures.of("error_"),
        )

    return tell


def _memory(measured: Measured, before: Use, asleep: Use, plan: LoadPlan) -> dict[str, Any]:
    """Bytes a sleeping session, and the slope of the memory held, by what serves turns."""
    late = [use for use in measured.uses if use.at_s >= measured.begin_s + plan.warmup_s - 0.01]
    hours = [(use.at_s - measured.begin_s) / 3600 for use in late]
    spoken = late[0] if late else asleep
    customers = max(1, measured.seated.customers)
    growth = slope(hours, [use.rss(OWN_CODE) / 2**20 for use in late])
    held = sum(use.rss(OWN_CODE) for use in late) / max(1, len(late)) / 2**20
    return {
        "own_code": list(OWN_CODE),
        "bytes_a_session_opened": round(max(0, asleep.rss(OWN_CODE) - before.rss(OWN_CODE)) / customers),
        "bytes_a_session_that_spoke": round(max(0, spoken.rss(OWN_CODE) - before.rss(OWN_CODE)) / customers),
        "held_mib": round(held, 1),
        "slope_known": growth.known,
        "slope_mib_an_hour": [
            round(each, 2) if math.isfinite(each) else None for each in (growth.low, growth.value, growth.high)
        ],
        "growth_share_an_hour_at_most": growth.high / held if growth.known and held else None,
        "slope_mib_an_hour_by_role": {
            role: round(slope(hours, [use.rss((role,)) / 2**20 for use in late]).value, 2) for role in before.rss_bytes
        },
    }


def _bars(
    measured: Measured,
    memory: Mapping[str, Any],
    sizes: Sizes,
    *,
    own_ms: float,
    lost: int,
    damages: int,
    quick: bool,
) -> dict[str, Bar]:
    """The judgement. Ray and the embedder, a model, run in the desk's processes too: their CPU is told beside, not judged. In a
    quick run the figures that need a quiet machine and a long time are told, not judged."""
    detail: Mapping[str, Any] = as_detail(measured)
    growth = memory["growth_share_an_hour_at_most"]
    sleeping = max(memory["bytes_a_session_opened"], memory["bytes_a_session_that_spoke"])
    judged: Sequence[tuple[str, float, float]] = (
        ("own_cpu_ms_a_turn", own_ms, OWN_CPU_MS),
        ("memory_growth_share_an_hour", UNKNOWN if growth is None else growth, GROWTH_SHARE_AN_HOUR),
        ("bytes_a_sleeping_session", sleeping, SLEEPING_BYTES),
        ("generator_share_of_a_core", measured.generator_share, SATURATED_SHARE),
    )
    return {
        "lost_turns": bar(lost, 0),
        "errors_not_intended": bar(sum(measured.errors.values()), 0),
        "log_damages": bar(damages, 0),
        "sessions_open_at_once": bar(detail["sessions"]["open_at_most"], sizes.sessions, ">="),
        "minutes": bar(measured.span_s / 60, sizes.minutes, ">="),
        **{name: bar(value, None if quick else limit) for name, value, limit in judged},
        "refused_429": bar(measured.figures.counts["refusals"], None),
        "turn_p99_s": bar(measured.figures.at("turn", 0.99), None),
    }


def smaller(sizes: Sizes, **given: Any) -> Sizes:
    """`sizes` with what the command line gave."""
    return replace(sizes, **{name: value for name, value in given.items() if value is not None})
