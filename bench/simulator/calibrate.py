"""`keepword bench calibrate`: what a step of the real engine costs on this machine, and how well the simulator then foretells.

Rounds of all loads in turn, those to fit on between those to check on, so that what else the machine does meets both; of
each load the rounds count in which others used least of it. The cost is fitted on the steps of the first kind alone. Then
every load of the second kind is simulated with the prompts and the output lengths the real engine had, and three figures of
each are compared round by round, since every round has its own speed: what counts is the median of the rounds' ratios.

A machine's pace drifts, by half within minutes where others share the host. So a probe (a short answer alone, then two prompts)
runs before and after every load; costs are fitted as of the median probe's pace, and a load is foretold for the pace its own
probes had.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise, zip_longest
from pathlib import Path
from statistics import median
from typing import Any, Final, Protocol, Self

from bench.result import Bar, BenchResult, bar
from bench.simulator.calibration_loads import check_loads, fit_loads
from bench.simulator.disturbance import CpuClock
from bench.simulator.fit import Step, fit, relative_error
from bench.simulator.loads import Figures, Load, Served, drive, figures, story
from bench.simulator.model import SimulatedModel
from bench.simulator.profile import Limits, Pace, Profile
from bench.simulator.timing import VirtualLoop

ROUNDS: Final = 9
BUDGET_S: Final = 1200.0
MAX_ERROR: Final = 0.15
QUIET: Final = 0.03  # of the machine
PROBE_TOKENS: Final = 14
PROBE_PROMPT: Final = 250


class Subject(Protocol):
    """An engine under observation: what its callers saw of a load, and every step it has made."""

    limits: Limits

    async def drive(self, load: Load) -> list[Served]: ...

    def steps(self) -> list[Step]: ...


@dataclass(frozen=True, slots=True)
class Probed:
    """Seconds a token of a short answer takes, and a prompt of `PROBE_PROMPT` tokens until its first."""

    token_s: float
    prompt_s: float

    def against(self, usual: "Probed") -> Pace:
        return Pace(self.token_s / usual.token_s, self.prompt_s / usual.prompt_s)

    @classmethod
    def middle(cls, probes: Sequence[Self]) -> Self:
        return cls(median(one.token_s for one in probes), median(one.prompt_s for one in probes))


@dataclass(frozen=True, slots=True)
class Observed:
    """One load in one round: when it began and ended (the clock of the steps), what its callers saw, the share of the machine
    others used meanwhile, and what the probes said, in the middle of before and after."""

    load: Load
    began: float
    ended: float
    served: Sequence[Served]
    others: float
    probed: Probed

    @property
    def to_fit(self) -> bool:
        return self.load.name.startswith("fit: ")


async def run(
    subject: Subject,
    *,
    seed: int,
    quick: bool,
    progress: Callable[[int, int], None],
    written_to: Path | None = None,
    raw: Path | None = None,
    budget_s: float = BUDGET_S,
) -> BenchResult:
    """Measure, fit, check. `written_to`: the profile's file. `raw`: a folder for every step and every request seen."""
    rounds = await _observe(subject, random.Random(seed), 1 if quick else ROUNDS, budget_s, progress)
    steps = subject.steps()
    counted = _least_disturbed(rounds)
    fitted_on = [one for one in counted if one.to_fit]
    usual = Probed.middle([one.probed for one in counted])
    used = [
        replace(step, pace=one.probed.against(usual))
        for one in fitted_on
        for step in steps
        if one.began <= step.began < one.ended
    ]
    profile = Profile("cpu", "measured", subject.limits, fit(used), _request_s(fitted_on, steps), _accept_s(fitted_on))
    checks = await asyncio.to_thread(_check, profile, usual, [one for one in counted if not one.to_fit])
    await asyncio.to_thread(_write, written_to, as_toml(profile, len(used), len(rounds)), raw, steps, rounds)
    bars: dict[str, Bar] = {}
    for name, (real, simulated) in checks.items():
        for figure, error in _errors(real, simulated).items():
            bars[f"{name}: {figure}"] = bar(error, MAX_ERROR)
    return BenchResult("bench calibrate", bars, _detail(profile, used, checks, rounds))


def _least_disturbed(rounds: Sequence[Sequence[Observed]]) -> list[Observed]:
    """Of each load the rounds in which others used at most `QUIET` of the machine; where there is none, the quietest one."""
    counted: list[Observed] = []
    for same in zip(*rounds, strict=True):
        quietest = min(one.others for one in same)
        counted += [one for one in same if one.others <= max(QUIET, quietest)]
    return counted


async def _observe(
    subject: Subject, rng: random.Random, rounds: int, budget_s: float, progress: Callable[[int, int], None]
) -> list[list[Observed]]:
    """Rounds of every load, until there are enough or another would not end in time."""
    began, done = time.monotonic(), []
    await subject.drive(Load("warm up", tuple(story(rng, 64, 4) for _ in range(4)), 2))
    before = await _probe(subject, rng)
    for number in range(rounds):
        fits, checks = fit_loads(rng), check_loads(rng)
        loads = [load for pair in zip_longest(fits, checks) for load in pair if load is not None]
        observed = []
        for index, load in enumerate(loads):
            one, after = await _one(subject, load, before), await _probe(subject, rng)
            observed.append(replace(one, probed=Probed.middle([before, after])))
            before = after
            progress(number * len(loads) + index + 1, rounds * len(loads))
        done.append(observed)
        elapsed_s = time.monotonic() - began
        if elapsed_s + elapsed_s / (number + 1) > budget_s:
            break
    return done


async def _one(subject: Subject, load: Load, probed: Probed) -> Observed:
    loop = asyncio.get_running_loop()
    before, began, load_began = CpuClock.now(), time.monotonic(), loop.time()
    served = await subject.drive(load)
    others = before.others_share(CpuClock.now(), time.monotonic() - began)
    return Observed(load, load_began, loop.time(), served, others, probed)


async def _probe(subject: Subject, rng: random.Random) -> Probed:
    """How fast the machine is now."""
    asks = (story(rng, 50, PROBE_TOKENS), story(rng, PROBE_PROMPT, 1), story(rng, PROBE_PROMPT, 1))
    answer, *prompts = await subject.drive(Load("probe", asks, 1))
    return Probed(figures([answer]).itl_p50_s, figures(prompts).ttft_p50_s)


def _request_s(observed: Sequence[Observed], steps: Sequence[Step]) -> float:
    """What a request takes beside its first step: before it and after it, where it was alone. Median."""
    beside: list[float] = []
    for one in observed:
        for served in one.served if one.load.at_once == 1 else ():
            first = next((step for step in steps if served.asked_at <= step.began < served.chunks_at[0]), None)
            if first is not None:
                beside.append(served.chunks_at[0] - served.asked_at - first.seconds)
    return max(0.0, median(beside)) if beside else 0.0


def _accept_s(observed: Sequence[Observed]) -> float:
    """What the front takes for a request before it looks at the next: the time between those that began together. Median."""
    between: list[float] = []
    for one in observed:
        asked = sorted(served.asked_at for served in one.served)[: one.load.at_once]
        between += [later - earlier for earlier, later in pairwise(asked)]
    return median(between) if between else 0.0


def _check(profile: Profile, usual: Probed, observed: Sequence[Observed]) -> dict[str, tuple[list[Figures], list[Figures]]]:
    """By load: the real figures of each round, and the simulated ones at the pace the machine had in it."""
    checks: dict[str, tuple[list[Figures], list[Figures]]] = {}
    for one in observed:
        same = one.load.with_outputs([served.tokens for served in one.served])
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            simulated = figures(runner.run(drive(SimulatedModel(profile.slowed(one.probed.against(usual))), same)))
        both = checks.setdefault(one.load.name, ([], []))
        both[0].append(figures(one.served))
        both[1].append(simulated)
    return checks


def _errors(real: Sequence[Figures], simulated: Sequence[Figures]) -> dict[str, float]:
    """By figure: how far from 1 the median over the rounds of simulated to real is."""
    found: dict[str, float] = {}
    for name in (field.name for field in fields(Figures)):
        ratios = [getattr(foretold, name) / getattr(measured, name) for measured, foretold in zip(real, simulated, strict=True)]
        found[name] = abs(median(ratios) - 1)
    return found


def _detail(
    profile: Profile,
    used: Sequence[Step],
    checks: Mapping[str, tuple[list[Figures], list[Figures]]],
    rounds: Sequence[Sequence[Observed]],
) -> dict[str, Any]:
    return {
        "cost": asdict(profile.cost),
        "request_s": profile.request_s,
        "accept_s": profile.accept_s,
        "steps_fitted": len(used),
        "step_error_median": round(relative_error(profile.cost, used), 4),
        "others_share": {same[0].load.name: [round(one.others, 3) for one in same] for same in zip(*rounds, strict=True)},
        "probes": {same[0].load.name: [asdict(one.probed) for one in same] for same in zip(*rounds, strict=True)},
        "rounds": {
            name: {"real": [asdict(one) for one in real], "simulated": [asdict(one) for one in simulated]}
            for name, (real, simulated) in checks.items()
        },
    }


def as_toml(profile: Profile, steps: int, rounds: int) -> str:
    """The profile as a file of `profiles/`."""
    limits = "\n".join(f"{name} = {str(value).lower()}" for name, value in asdict(profile.limits).items())
    cost = "\n".join(f"{name} = {value:.4g}" for name, value in asdict(profile.cost).items())
    source = f"measured by `keepword bench calibrate`: {steps} steps of the real engine in {rounds} rounds"
    head = "# The default model (Qwen2.5-Coder-0.5B, INT8) on 2 cores. `keepword bench calibrate --write` wrote this file."
    front = f"request_s = {profile.request_s:.4g}\naccept_s = {profile.accept_s:.4g}"
    return f'{head}\nsource = "{source}"\n{front}\n\n[limits]\n{limits}\n\n[cost]\n{cost}\n'


def _write(
    written_to: Path | None, profile: str, raw: Path | None, steps: Sequence[Step], rounds: Sequence[Sequence[Observed]]
) -> None:
    if written_to is not None:
        written_to.write_text(profile, encoding="utf-8")
    if raw is None:
        return
    raw.mkdir(parents=True, exist_ok=True)
    rows = [{"began": step.began, "seconds": step.seconds, **asdict(step.work)} for step in steps]
    (raw / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    seen = [
        {"round": number, "load": one.load.name, **asdict(served)}
        for number, observed in enumerate(rounds)
        for one in observed
        for served in one.served
    ]
    (raw / "requests.jsonl").write_text("".join(json.dumps(row) + "\n" for row in seen), encoding="utf-8")
