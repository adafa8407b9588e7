"""`keepword bench capacity`: the largest rate of turns that meets an objective."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.load.figures import Window, total
from bench.load.measure import SATURATED_SHARE, Measured, measure
from bench.load.place import Place
from bench.load.plan import LoadPlan
from bench.load.search import Found, Tried, search
from bench.load.series import Series, series
from bench.load.watch import Watch, spent
from bench.result import BenchResult, bar

REST_LIMIT_S, REST_LOOK_S, RESTING_CORES = 60.0, 0.5, 0.25
MAX_PRECISION = 0.15  # the interval's half width over the capacity: wider than that, the figure says little


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long and how often: a trial's seconds, the share of them that warms up, bisections, and where to look."""

    trial_s: float = 25.0
    warmup_share: float = 0.3
    repeats: int = 5
    precision: float = 0.05
    lowest_per_s: float = 1.0
    highest_per_s: float = 2000.0


QUICK = Sizes(trial_s=4.0, repeats=2, precision=0.6, lowest_per_s=1.0, highest_per_s=16.0)


async def run(
    plan: LoadPlan, where: Place, sizes: Sizes, *, seed: int = 0, progress: Callable[[str], None] | None = None
) -> BenchResult:
    """Search the capacity of `where` for the mix and the objective of `plan`, whose rate does not matter."""
    warmup_s = sizes.trial_s * sizes.warmup_share
    base = replace(plan, duration_s=sizes.trial_s, warmup_s=warmup_s, drain_s=plan.slo.turn_s + 1.0)

    async def trial(rate: float, trial_seed: int) -> tuple[bool, dict[str, Any]]:
        arrivals = replace(base.arrivals, rate_per_s=rate)
        customers = max(base.customers, min(2000, round(rate * min(base.think.mean_s, 10.0))))
        offered = replace(base, arrivals=arrivals, customers=customers, seed=trial_seed)
        measured = await measure(offered, where.watch, hopeless=lambda windows: hopeless(offered, windows))
        await rest(where.watch)
        if progress is not None:
            progress(f"{rate:.1f}/s: {measured.good_share:.3f} good{', stopped early' if measured.stopped else ''}")
        return measured.meets_slo, _seen(measured)

    found = await search(
        trial,
        lowest=sizes.lowest_per_s,
        highest=sizes.highest_per_s,
        repeats=sizes.repeats,
        precision=sizes.precision,
        seed=seed,
    )
    return result(found, plan, where, sizes)


def hopeless(plan: LoadPlan, windows: Sequence[Window]) -> bool:
    """Whether the objective can no longer be met: more turns are already bad, or overdue, than the whole trial may have.
    A rate that jumps far above its mean could still dilute them: half as many turns again are allowed for."""
    figures = total(window for window in windows if window.end_s > 0)
    bad = figures.counts["measured"] - figures.counts["good"]
    latest = {window.worker: window for window in windows}
    overdue = sum(window.overdue for window in latest.values())
    expected = plan.arrivals.rate_per_s * (plan.duration_s - plan.warmup_s)
    return bad + overdue > max(3.0, 1.5 * (1 - plan.slo.share) * expected)


async def rest(watch: Watch | None, clock: Callable[[], float] = time.monotonic) -> None:
    """Wait until the service has worked off what a trial left behind, for a minute at most."""
    if watch is None:
        return
    until_s, before = clock() + REST_LIMIT_S, watch.use()
    while clock() < until_s:
        await asyncio.sleep(REST_LOOK_S)
        now = watch.use()
        if sum(spent(before, now).values()) < RESTING_CORES * (now.at_s - before.at_s):
            return
        before = now


def result(found: Found[dict[str, Any]], plan: LoadPlan, where: Place, sizes: Sizes) -> BenchResult:
    low, high = found.interval()
    capacity = found.median
    spread = (high - low) / 2 / capacity if capacity else 1.0
    limited = sum(bool(tried.seen["generator_is_the_bottleneck"]) for tried in found.trials if tried.met is False)
    errors = sum(sum(tried.seen["errors"].values()) for tried in found.trials if tried.met)
    bars = {
        "capacity_turns_per_s": bar(capacity, sizes.lowest_per_s, ">="),
        "interval_low_turns_per_s": bar(low, None),
        "interval_high_turns_per_s": bar(high, None),
        "interval_half_width_share": bar(spread, MAX_PRECISION),
        "errors_while_met": bar(errors, 0),
        "misses_by_the_generator": bar(limited, 0),
        "generator_share_of_a_core": bar(max((t.seen["generator_share"] for t in found.trials), default=0.0), SATURATED_SHARE),
    }
    detail = {
        "engine": where.engine,
        "objective": asdict(plan.slo),
        "plan": asdict(plan),
        "sizes": asdict(sizes),
        "estimates_turns_per_s": [round(each, 3) for each in found.estimates],
        "at_least": found.open_end,
        "trials": [{"rate_per_s": round(t.rate_per_s, 3), "met": t.met, **t.seen} for t in found.trials],
        "series": _curves(found.trials),
    }
    return BenchResult("bench capacity", bars, detail)


def _seen(measured: Measured) -> dict[str, Any]:
    figures = measured.figures
    return {
        "good_share": round(measured.good_share, 4),
        "turns": measured.measured,
        "turns_per_s": round(measured.ended / measured.span_s, 3),
        "goodput_per_s": round(figures.counts["good"] / measured.span_s, 3),
        "first_sentence_p99_s": figures.at("first_sentence", 0.99),
        "turn_p50_s": figures.at("turn", 0.5),
        "turn_p99_s": figures.at("turn", 0.99),
        "refused": figures.counts["refusals"],
        "errors": measured.errors,
        "stopped_early": measured.stopped,
        "cpu_ms_a_turn": round(measured.cpu_ms_a_turn(), 3),
        "generator_share": round(measured.generator_share, 3),
        "generator_is_the_bottleneck": measured.generator_limits,
    }


def _curves(trials: Sequence[Tried[dict[str, Any]]]) -> list[Series]:
    """Latency and goodput over the offered rate, from trials that ran to their end."""
    whole = sorted((t for t in trials if not t.seen["stopped_early"]), key=lambda t: t.rate_per_s)
    xs = [round(t.rate_per_s, 2) for t in whole]
    times = {"turn p50": "turn_p50_s", "turn p99": "turn_p99_s", "first sentence p99": "first_sentence_p99_s"}
    offered = "turns offered a second"
    return [
        series(
            "Latency over load", offered, "seconds", xs, {line: [t.seen[key] for t in whole] for line, key in times.items()}
        ),
        series(
            "Goodput over load", offered, "good turns/s", xs, {"good": [t.seen["goodput_per_s"] for t in whole], "offered": xs}
        ),
    ]
