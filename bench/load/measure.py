"""One load, measured from both ends: what the customers saw, and what the service's processes spent on it."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.load.figures import Figures, Window, total
from bench.load.generator import Run, Seated, seated
from bench.load.outcome import OK
from bench.load.plan import LoadPlan
from bench.load.watch import OWN_CODE, Use, Watch, spent

USE_EVERY_S = 1.0
SATURATED_SHARE = 0.85
LATE_SHARE = 0.1  # of the objective's first sentence: a generator this late (p99) colours the figures

Hopeless = Callable[[Sequence[Window]], bool]
Tell = Callable[[Window], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """`figures` hold every window; latencies in them leave the warm-up out. CPU seconds are those between the end of the
    warm-up and the last arrival, in which `ended` turns ended; None when the processes cannot be seen. `elapsed_s` is from the
    first turn sent to the last one done; `accepted` counts by session the turns the desk took."""

    plan: LoadPlan
    seated: Seated
    figures: Figures
    windows: Sequence[Window]
    uses: Sequence[Use]
    begin_s: float
    cpu_s: Mapping[str, float] | None
    ended: int
    span_s: float
    generator_share: float
    stopped: bool
    elapsed_s: float
    accepted: Mapping[str, int] = field(default_factory=dict, repr=False)

    @property
    def measured(self) -> int:
        """Turns after the warm-up, however they went."""
        return self.figures.counts["measured"]

    @property
    def good_share(self) -> float:
        """The share of them that met the objective."""
        return self.figures.counts["good"] / self.measured if self.measured else 0.0

    @property
    def meets_slo(self) -> bool:
        return not self.stopped and self.measured > 0 and self.good_share >= self.plan.slo.share

    @property
    def errors(self) -> dict[str, int]:
        """What nobody intended, by kind, warm-up included; refusals are not among it."""
        return self.figures.of("error_")

    @property
    def generator_limits(self) -> bool:
        """Whether the figures say more about the generator than about the service."""
        return self.generator_share > SATURATED_SHARE or self.figures.at("late", 0.99) > LATE_SHARE * self.plan.slo.first_s

    def cpu_ms_a_turn(self, roles: Sequence[str] = ()) -> float:
        """CPU milliseconds a turn of these roles, or of all."""
        if self.cpu_s is None or not self.ended:
            return 0.0
        return 1000 * sum(seconds for role, seconds in self.cpu_s.items() if not roles or role in roles) / self.ended


async def measure(
    plan: LoadPlan,
    watch: Watch | None,
    *,
    hopeless: Hopeless | None = None,
    tell: Tell | None = None,
    at_seated: Callable[[Run], None] | None = None,
    use_every_s: float = USE_EVERY_S,
) -> Measured:
    """Run a load to its end, or until `hopeless` says so of the windows so far. `at_seated` runs when all customers sit and
    nobody has spoken."""
    windows: list[Window] = []
    uses: list[Use] = []
    async with seated(plan) as run:
        if at_seated is not None:
            at_seated(run)
        watching = asyncio.create_task(_look(watch, run, uses, use_every_s)) if watch is not None else None
        try:
            async for window in run.windows():
                windows.append(window)
                if tell is not None:
                    tell(window)
                if hopeless is not None and not run.stopped and hopeless(windows):
                    run.stop()
        finally:
            if watching is not None:
                watching.cancel()
    return _added_up(run, windows, uses)


async def _look(watch: Watch, run: Run, uses: list[Use], every_s: float) -> None:
    """A look at the start, at the end of the warm-up and of the arrivals, and every `every_s` between."""
    plan = run.plan
    await run.begun.wait()
    marks = {0.0, plan.warmup_s, plan.duration_s}
    marks |= {each * every_s for each in range(1, int(plan.duration_s / every_s) + 1)}
    for mark in sorted(marks):
        await asyncio.sleep(max(0.0, run.begin_s + mark - time.monotonic()))
        uses.append(watch.use())


def _added_up(run: Run, windows: Sequence[Window], uses: Sequence[Use]) -> Measured:
    plan = run.plan
    edge = plan.window_s / 2
    inside = [each for each in windows if each.begin_s >= plan.warmup_s - edge and each.end_s <= plan.duration_s + edge]
    begin = next((use for use in uses if use.at_s >= run.begin_s + plan.warmup_s - 0.01), None)
    seen = begin is not None and uses[-1].at_s > begin.at_s
    accepted: Counter[str] = Counter()
    for report in run.reports:
        accepted.update(report.accepted)
    first_s = min((report.first_sent_s for report in run.reports if report.last_done_s), default=0.0)
    return Measured(
        plan=plan,
        seated=run.seated,
        figures=total(windows),
        windows=windows,
        uses=uses,
        begin_s=run.begin_s,
        cpu_s=spent(begin, uses[-1]) if begin is not None and seen else None,
        ended=sum(each.counts.get("ended", 0) for each in inside),
        span_s=plan.duration_s - plan.warmup_s,
        generator_share=_busiest(windows, plan),
        stopped=run.stopped,
        elapsed_s=max((report.last_done_s for report in run.reports), default=0.0) - first_s,
        accepted=accepted,
    )


def _busiest(windows: Sequence[Window], plan: LoadPlan) -> float:
    """The largest share of a core that one worker used after the warm-up."""
    shares = []
    for number in range(plan.processes):
        own = [each for each in windows if each.worker == number and each.end_s <= plan.duration_s + plan.window_s / 2]
        late = [each for each in own if each.end_s >= plan.warmup_s]
        if len(late) >= 2:
            shares.append((late[-1].cpu_s - late[0].cpu_s) / (late[-1].end_s - late[0].end_s))
    return max(shares, default=0.0)


def as_detail(measured: Measured) -> dict[str, object]:
    """Everything a load tells, for `detail` of a result."""
    figures, plan = measured.figures, measured.plan
    ok, sentences = figures.counts["kind_" + OK], figures.counts["usage_completion_tokens"]
    detail: dict[str, object] = {
        "turns_per_s": round(measured.ended / measured.span_s, 3) if measured.span_s else 0.0,
        "goodput_per_s": round(figures.counts["good"] / measured.span_s, 3) if measured.span_s else 0.0,
        "good_share": round(measured.good_share, 5),
        "turns": {"sent": figures.counts["sent"], "warmup": figures.counts["warmup"], "measured": measured.measured, "ok": ok},
        "refused_429": figures.counts["refusals"],
        "refused_without_retry_after": figures.counts["refusals_without_retry_after"],
        "errors": measured.errors,
        "times_s": {name: figures.summary(name) for name in sorted(figures.histograms)},
        "sessions": {
            "at_the_start": measured.seated.customers,
            "open_at_most": max((measured.seated.customers, *_open(measured))),
            "open_at_least": min((measured.seated.customers, *_open(measured))),
            "seating_s": measured.seated.seating_s,
        },
        "elapsed_s": round(measured.elapsed_s, 3),
        "usage": figures.of("usage_"),
        "generator": {
            "processes": plan.processes,
            "busiest_share_of_a_core": round(measured.generator_share, 3),
            "late_p99_s": figures.at("late", 0.99),
            "is_the_bottleneck": measured.generator_limits,
        },
    }
    if sentences and measured.span_s:
        detail["output_tokens_per_s"] = round(sentences / measured.span_s, 2)
    if measured.cpu_s is not None:
        detail["cpu_ms_a_turn"] = {
            **{role: round(measured.cpu_ms_a_turn((role,)), 3) for role in measured.cpu_s},
            "all": round(measured.cpu_ms_a_turn(), 3),
        }
        last = measured.uses[-1]
        detail["memory_mib"] = {role: round(size / 2**20, 1) for role, size in sorted(last.rss_bytes.items())}
        detail["memory_own_code_mib"] = round(last.rss(OWN_CODE) / 2**20, 1)
    return detail


def _open(measured: Measured) -> list[int]:
    """Sessions open at once over all workers, at the end of each window in which customers came."""
    at: dict[int, dict[int, int]] = {}
    for window in measured.windows:
        if window.end_s <= measured.plan.duration_s:
            at.setdefault(round(window.begin_s / measured.plan.window_s), {})[window.worker] = window.sessions_open
    return [sum(each.values()) for each in at.values() if len(each) == measured.plan.processes]
