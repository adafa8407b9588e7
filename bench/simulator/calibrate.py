"""`keepword bench calibrate`: what a step of the real engine costs on this machine, and how well the simulator then foretells.

Rounds of all loads in turn, those to fit on between those to check on, so that what else the machine does meets both. The
cost is fitted on the steps of the first kind alone. Then every load of the second kind is simulated with the prompts and the
output lengths the real engine had, and three figures of each are compared: medians over the rounds.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any, Final, Protocol

from bench.result import Bar, BenchResult, bar
from bench.simulator.calibration_loads import check_loads, fit_loads
from bench.simulator.fit import Step, fit, relative_error
from bench.simulator.loads import Figures, Load, Served, drive, figures, story
from bench.simulator.model import SimulatedModel
from bench.simulator.profile import Limits, Profile
from bench.simulator.timing import VirtualLoop

ROUNDS: Final = 3
BUDGET_S: Final = 430.0
MAX_ERROR: Final = 0.15


class Subject(Protocol):
    """An engine under observation: what its callers saw of a load, and every step it has made."""

    limits: Limits

    async def drive(self, load: Load) -> list[Served]: ...

    def steps(self) -> list[Step]: ...


@dataclass(frozen=True, slots=True)
class Observed:
    """One load in one round: when it began and ended (the clock of the steps), and what its callers saw."""

    load: Load
    began: float
    ended: float
    served: Sequence[Served]


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
    fitted_on = [one for observed in rounds for one in observed if one.load.name.startswith("fit: ")]
    used = [step for step in steps if any(one.began <= step.began < one.ended for one in fitted_on)]
    profile = Profile("cpu", "measured", subject.limits, fit(used), _request_s(fitted_on, steps))
    checks = await asyncio.to_thread(_check, profile, rounds)
    await asyncio.to_thread(_write, written_to, as_toml(profile, len(used), len(rounds)), raw, steps, rounds)
    bars: dict[str, Bar] = {}
    for name, (real, simulated) in checks.items():
        for figure, error in _errors(_medians(real), _medians(simulated)).items():
            bars[f"{name}: {figure}"] = bar(error, MAX_ERROR)
    return BenchResult("bench calibrate", bars, _detail(profile, used, checks))


async def _observe(
    subject: Subject, rng: random.Random, rounds: int, budget_s: float, progress: Callable[[int, int], None]
) -> list[list[Observed]]:
    """Rounds of every load, until there are enough or another would not end in time."""
    began, done = time.monotonic(), []
    await subject.drive(Load("warm up", tuple(story(rng, 64, 4) for _ in range(4)), 2))
    for number in range(rounds):
        fits, checks = fit_loads(rng), check_loads(rng)
        loads = [load for pair in zip(fits, [*checks, None, None], strict=True) for load in pair if load is not None]
        observed = []
        for index, load in enumerate(loads):
            load_began = asyncio.get_running_loop().time()
            served = await subject.drive(load)
            observed.append(Observed(load, load_began, asyncio.get_running_loop().time(), served))
            progress(number * len(loads) + index + 1, rounds * len(loads))
        done.append(observed)
        elapsed_s = time.monotonic() - began
        if elapsed_s + elapsed_s / (number + 1) > budget_s:
            break
    return done


def _request_s(observed: Sequence[Observed], steps: Sequence[Step]) -> float:
    """What a request takes beside its first step: before it and after it, where it was alone. Median."""
    beside: list[float] = []
    for one in observed:
        for served in one.served if one.load.at_once == 1 else ():
            first = [step for step in steps if served.asked_at <= step.began < served.chunks_at[0]]
            if first:
                beside.append(served.chunks_at[0] - served.asked_at - sum(step.seconds for step in first))
    return max(0.0, median(beside)) if beside else 0.0


def _check(profile: Profile, rounds: Sequence[Sequence[Observed]]) -> dict[str, tuple[list[Figures], list[Figures]]]:
    """By load: the real figures of each round, and the simulated ones."""
    checks: dict[str, tuple[list[Figures], list[Figures]]] = {}
    for observed in rounds:
        for one in observed:
            if one.load.name.startswith("fit: "):
                continue
            same = one.load.with_outputs([served.tokens for served in one.served])
            with asyncio.Runner(loop_factory=VirtualLoop) as runner:
                simulated = figures(runner.run(drive(SimulatedModel(profile), same)))
            both = checks.setdefault(one.load.name, ([], []))
            both[0].append(figures(one.served))
            both[1].append(simulated)
    return checks


def _medians(rounds: Sequence[Figures]) -> Figures:
    return Figures(**{field.name: median(getattr(one, field.name) for one in rounds) for field in fields(Figures)})


def _errors(real: Figures, simulated: Figures) -> dict[str, float]:
    measured, foretold = asdict(real), asdict(simulated)
    return {name: abs(foretold[name] / measured[name] - 1) for name in measured}


def _detail(
    profile: Profile, used: Sequence[Step], checks: Mapping[str, tuple[list[Figures], list[Figures]]]
) -> dict[str, Any]:
    return {
        "cost": asdict(profile.cost),
        "request_s": profile.request_s,
        "steps_fitted": len(used),
        "step_error_median": round(relative_error(profile.cost, used), 4),
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
    return f'{head}\nsource = "{source}"\nrequest_s = {profile.request_s:.4g}\n\n[limits]\n{limits}\n\n[cost]\n{cost}\n'


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
