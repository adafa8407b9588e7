"""When turns arrive in an open loop: a rate over time, and a Poisson process under it by thinning (Lewis and Shedler 1979)."""

import math
import random
from collections.abc import Callable, Iterator

from bench.load.plan import Arrivals, Think


def times(arrivals: Arrivals, duration_s: float, *, share: float, offset: float, seed: int, number: int) -> Iterator[float]:
    """Seconds after the start at which worker `number`, who has `share` of the load, sends. The stretches of `bursts` come from
    `seed` alone, so that all workers burst at once; `offset` (0 to 1) shifts a steady stream against the others'."""
    if arrivals.shape == "steady":
        yield from _steady(arrivals.rate_per_s * share, duration_s, offset)
        return
    rate_at, highest = rate(arrivals, duration_s, seed)
    rng, now = random.Random(f"arrivals {seed} {number}"), 0.0
    while True:
        now += rng.expovariate(highest * share)
        if now >= duration_s:
            return
        if rng.random() * highest < rate_at(now):
            yield now


def rate(arrivals: Arrivals, duration_s: float, seed: int) -> tuple[Callable[[float], float], float]:
    """Turns per second as a function of time, and its highest value."""
    base = arrivals.rate_per_s
    if arrivals.shape == "ramp":
        grow = (arrivals.end_rate_per_s - base) / duration_s
        return lambda now: base + grow * now, max(base, arrivals.end_rate_per_s)
    if arrivals.shape == "bursts":
        high = base * arrivals.burst_factor
        low = base * (1 - arrivals.burst_factor * arrivals.burst_share) / (1 - arrivals.burst_share)
        bursts = _stretches(arrivals, duration_s, seed)
        return lambda now: high if any(begin <= now < end for begin, end in bursts) else low, high
    return lambda _now: base, base


def _stretches(arrivals: Arrivals, duration_s: float, seed: int) -> list[tuple[float, float]]:
    """(begin, end) of each burst: a two-state Markov process that bursts `burst_share` of the time."""
    rng, now, found = random.Random(f"bursts {seed}"), 0.0, []
    quiet_s = arrivals.burst_s * (1 - arrivals.burst_share) / arrivals.burst_share
    bursting = rng.random() < arrivals.burst_share
    while now < duration_s:
        end = now + rng.expovariate(1 / (arrivals.burst_s if bursting else quiet_s))
        if bursting:
            found.append((now, end))
        now, bursting = end, not bursting
    return found


def _steady(rate_per_s: float, duration_s: float, offset: float) -> Iterator[float]:
    gap = 1 / rate_per_s
    yield from (
        (number + offset) * gap for number in range(math.ceil(duration_s * rate_per_s)) if (number + offset) * gap < duration_s
    )


def thinking_s(think: Think, rng: random.Random) -> float:
    """One customer's time to think. The lognormal has the given mean and a shape of 1: a long tail, as people do."""
    if think.mean_s == 0 or think.law == "constant":
        return think.mean_s
    if think.law == "lognormal":
        return rng.lognormvariate(math.log(think.mean_s) - 0.5, 1.0)
    return rng.expovariate(1 / think.mean_s)
